"""Observers: from how often magnitudes occurred to where int8 should clip them.

All are symmetric: a threshold t means the scale t / 127 and values from -t to t. `minmax` clips nothing;
`percentile_p` lets p percent of the values pass (zeros count, as in ONNX Runtime's calibrator); `entropy`
and `mse` weigh what clipping costs against what coarse steps cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .histogram import Magnitudes
from .ranges import OBSERVERS, Observer

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
