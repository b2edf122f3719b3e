"""Observers: from how often magnitudes occurred to where int8 should clip them.

A tensor's magnitudes are counted in one pass, in memory that does not grow. A bin is a magnitude's exponent
and the first
bits of its mantissa, as float32 stores them: 512 bins for each power of two, so bins are narrow (0.2% at
most) whatever the range is, no range need be known beforehand, and counts do not depend on the order of the
frames.

All observers are symmetric: a threshold t means the scale t / 127 and values from -t to t. `minmax` clips
nothing; `percentile_p` lets p percent of the values pass (zeros count, as in ONNX Runtime's calibrator);
`entropy` and `mse` weigh what clipping costs against what coarse steps cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ranges import OBSERVERS, Observer

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
        """Merge counters into what one that had seen all their values would hold."""
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


LEVELS = 127  # int8's largest value; -128 is not used
ENTROPY_BINS = 2048
ENTROPY_LEVELS = 128
_ENTROPY_STEP = 16  # bins from one tried threshold to the next
_MSE_CANDIDATES = np.geomspace(1e-3, 1, 231)  # shares of the maximum, 3% apart
_OF_ZEROS = 1.0  # a threshold for a tensor that holds nothing else: any would do


def thresholds_of(magnitudes: Magnitudes) -> dict[Observer, float]:
    """Let every observer choose a threshold, in the tensor's units, above 0."""
    if magnitudes.maximum == 0:
        return dict.fromkeys(OBSERVERS, _OF_ZEROS)
    return {
        "minmax": magnitudes.maximum,
        "percentile_99.9": percentile(magnitudes, 99.9),
        "percentile_99.99": percentile(magnitudes, 99.99),
        "percentile_99.999": percentile(magnitudes, 99.999),
        "entropy": entropy(magnitudes),
        "mse": mse(magnitudes),
    }


def percentile(magnitudes: Magnitudes, share_percent: float) -> float:
    """Find what `share_percent` of the values do not exceed in magnitude, by the bin that reaches it.

    Where all of those are zeros, the maximum: a network's ReLU may leave one value in ten thousand.
    """
    reached = np.cumsum(magnitudes.counts)
    place = int(np.searchsorted(reached, share_percent / 100 * reached[-1]))
    inside = share_percent / 100 * reached[-1] - (reached[place] - magnitudes.counts[place])
    width = magnitudes.upper[place] - magnitudes.lower[place]
    threshold = float(magnitudes.lower[place] + width * inside / magnitudes.counts[place])
    return threshold if magnitudes.lower[place] > 0 else magnitudes.maximum


def mse(magnitudes: Magnitudes) -> float:
    """Find the threshold whose int8 values differ least from the tensor's, in mean square."""
    candidates = magnitudes.maximum * _MSE_CANDIDATES
    errors = [int8_mse(magnitudes, threshold) for threshold in candidates]
    return float(candidates[int(np.argmin(errors))])


def int8_mse(magnitudes: Magnitudes, threshold: float) -> float:
    """Compute the mean square of what int8 with this threshold changes, taking each bin at its middle."""
    middles = (magnitudes.lower + magnitudes.upper) / 2
    middles[magnitudes.lower == 0] = 0  # the first bin holds zeros, and what is too small to matter
    scale = threshold / LEVELS
    differences = np.minimum(np.rint(middles / scale), LEVELS) * scale - middles
    return float(np.average(differences**2, weights=magnitudes.counts))


def entropy(magnitudes: Magnitudes) -> float:
    """Find the threshold whose 128 levels keep most of the distribution, by Kullback-Leibler divergence.

    S. Migacz, "8-bit inference with TensorRT", GTC 2017: 2048 bins up to the maximum; for each threshold,
    the bins below it with the rest clipped to the last, against the same merged to 128 levels. Zeros are
    left out: they are exact at every scale, and behind a ReLU they would outweigh all else.
    """
    counts = _even_bins(magnitudes)
    ends = range(ENTROPY_LEVELS, ENTROPY_BINS + 1, _ENTROPY_STEP)
    divergences = [_divergence(counts, end) for end in ends]
    return magnitudes.maximum * ends[int(np.argmin(divergences))] / ENTROPY_BINS


def _even_bins(magnitudes: Magnitudes) -> NDArray[np.float64]:
    """Spread the counts over `ENTROPY_BINS` bins of one width; a bin that is wider is shared out evenly."""
    edges = np.linspace(0, magnitudes.maximum, ENTROPY_BINS + 1)
    counts = np.where(magnitudes.lower > 0, magnitudes.counts, 0)
    ends = np.ravel(np.column_stack([magnitudes.lower, magnitudes.upper]))
    below = np.cumsum(counts, dtype=np.float64)
    reached = np.ravel(np.column_stack([below - counts, below]))
    return np.diff(np.interp(edges, ends, reached))


def _divergence(counts: NDArray[np.float64], end: int) -> float:
    """Compute KL(P || Q) of the distribution clipped to its first `end` bins and of its 128 levels."""
    clipped = counts[:end].copy()
    clipped[-1] += counts[end:].sum()
    level = np.arange(end) * ENTROPY_LEVELS // end
    filled = clipped > 0
    sums = np.bincount(level, weights=counts[:end], minlength=ENTROPY_LEVELS)
    shares = np.bincount(level, weights=filled, minlength=ENTROPY_LEVELS)
    levelled = np.where(filled, (sums / np.maximum(shares, 1))[level], 0)
    p, q = clipped[filled] / clipped.sum(), levelled[filled] / max(levelled.sum(), 1e-12)
    return float(np.sum(p * np.log(p / np.maximum(q, 1e-12))))
