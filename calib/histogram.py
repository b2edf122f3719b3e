"""How often a tensor took which magnitude, counted in one pass and in memory that does not grow.

A bin is a magnitude's exponent and the first bits of its mantissa, as float32 stores them: 512 bins for
each octave, so bins are narrow (0.2% at most) whatever the range is, no range need be known beforehand,
and counts do not depend on the order of the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS_PER_OCTAVE = 512
_DROPPED_BITS = 14  # of the mantissa's 23
_MAGNITUDE_BITS = 0x7FFFFFFF
_BINS = 0x7F800000 >> _DROPPED_BITS  # below infinity
_CHUNK = 1 << 20  # values; bounds the memory that counting takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Magnitudes:
    """The bins that were met, from 0 up to the largest magnitude.

    Attributes:
        lower, upper: (K,) float64 edges of the bins, in the tensor's units; the last ends at the maximum.
        counts: (K,) int64.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def maximum(self) -> float:
        """The largest magnitude."""
        return float(self.upper[-1])


class TensorCounter:
    """What is remembered of one tensor while frames pass, in 1 MiB."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.minimum, self.maximum = np.inf, -np.inf
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count all values of a tensor.

        Raises:
            ValueError: some are NaN or infinite.
        """
        smallest, largest = float(values.min()), float(values.max())
        if not np.isfinite(smallest + largest):
            raise ValueError("NaN or infinite values")
        self.minimum, self.maximum = min(self.minimum, smallest), max(self.maximum, largest)
        bits = np.ascontiguousarray(values).reshape(-1).view(np.int32)
        for start in range(0, bits.size, _CHUNK):
            bins = (bits[start : start + _CHUNK] & _MAGNITUDE_BITS) >> _DROPPED_BITS
            self._counts += np.bincount(bins, minlength=_BINS)

    @classmethod
    def merged(cls, counters: Sequence[TensorCounter]) -> TensorCounter:
        """Give what one counter would hold that had seen all that these have."""
        merged = cls()
        for counter in counters:
            merged.minimum = min(merged.minimum, counter.minimum)
            merged.maximum = max(merged.maximum, counter.maximum)
            merged._counts += counter._counts
        return merged

    def magnitudes(self) -> Magnitudes:
        """Give what was counted."""
        found = np.flatnonzero(self._counts)
        lower, upper = _edge(found), _edge(found + 1)
        upper[-1] = max(abs(self.minimum), abs(self.maximum))
        return Magnitudes(lower=lower, upper=upper, counts=self._counts[found])


def _edge(bins: NDArray[np.intp]) -> NDArray[np.float64]:
    """Give the smallest magnitude of each bin."""
    return (bins << _DROPPED_BITS).astype(np.int32).view(np.float32).astype(np.float64)
