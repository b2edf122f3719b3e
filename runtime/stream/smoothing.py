"""Maps that do not flicker: an exponential moving average over time, with its time constant in seconds."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..frame import Frame, SaliencyMap

_HISTOGRAM_BINS = [8, 8, 8]  # of blue, green and red
_FULL_RANGE = [0, 256, 0, 256, 0, 256]
_SAMPLED_ROWS = 90  # about so many rows of a frame are looked at for a cut
_CUT_DISTANCE = 0.5  # of two histograms; half of the picture has other colours


def parse_time_constant(text: str) -> float:
    """Read a time such as `0.2s` or `200ms`.

    Returns:
        Seconds, above 0.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*(s|ms)", text)
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else 0.0
    if not seconds > 0:
        raise UsageError(f"--smooth {text}: expected a time above 0, such as 0.2s or 200ms")
    return seconds


@dataclass(frozen=True, slots=True)
class _Past:
    """What is remembered of a stream."""

    values: NDArray[np.float32]
    time_s: float
    histogram: NDArray[np.float32]


class Smoother:
    """Averages the maps of each stream over time.

    A map that comes dt seconds after the one before it weighs 1 - exp(-dt / tau): after a sudden change, 63%
    of it shows tau seconds later, whatever the frame rate and whether or not it is even. The average starts
    again where the size of the map changes, the clock does not go on, or the picture is cut.
    """

    def __init__(self, time_constant_s: float) -> None:
        """Start without a past.

        Args:
            time_constant_s: tau, above 0.
        """
        self._time_constant_s = time_constant_s
        self._pasts: dict[int, _Past] = {}

    def __call__(self, saliency: SaliencyMap) -> SaliencyMap:
        """Smooth one map; call it for all maps of a stream, in order.

        Returns:
            The map with the averaged values, in memory of its own.
        """
        frame = saliency.frame
        past = self._pasts.get(frame.stream)
        values, time_s, histogram = saliency.values, _time_of(frame), _histogram_of(frame)
        if past is not None and _goes_on(past, values.shape, time_s, histogram):
            weight = -math.expm1((past.time_s - time_s) / self._time_constant_s)
            values = past.values + np.float32(weight) * (values - past.values)
        else:
            values = values.copy()
        self._pasts[frame.stream] = _Past(values, time_s, histogram)
        return replace(saliency, values=values)


def _time_of(frame: Frame) -> float:
    """Time of the frame in its source, where that has one; a file is read faster than it was filmed."""
    return frame.captured_s if frame.timestamp_s is None else frame.timestamp_s


def _goes_on(past: _Past, map_hw: tuple[int, ...], time_s: float, histogram: NDArray[np.float32]) -> bool:
    """Tell whether a map belongs to the same scene as the one before it."""
    is_later = time_s > past.time_s
    distance = float(np.abs(histogram - past.histogram).sum()) / 2
    return is_later and past.values.shape == map_hw and distance < _CUT_DISTANCE


def _histogram_of(frame: Frame) -> NDArray[np.float32]:
    """Count the colours of a frame, in fractions that sum to 1."""
    step = max(1, frame.size_hw[0] // _SAMPLED_ROWS)
    sample = np.ascontiguousarray(frame.image_bgr[::step, ::step])
    counts = cv2.calcHist([sample], [0, 1, 2], None, _HISTOGRAM_BINS, _FULL_RANGE)
    return np.asarray(counts / (sample.shape[0] * sample.shape[1]), np.float32)
