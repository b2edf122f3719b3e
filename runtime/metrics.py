"""How far two maps agree, in numpy: what parity is decided by on every machine.

- A map is a float array (h, w). It is read as it is; where its minimum is below 0, it is shifted up to 0
  before it is taken as a density, and a map that sums to 0 is taken as the uniform density.
- A prediction of another size than the ground truth is resized to it bilinearly (`resize_map`).
- A constant map scores a CC of 0.

The metrics of an evaluation, fixations among them, are in `train/metrics.py`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.floating[Any]]

DENSITY_EPSILON = 2.2204e-16
"""The MIT benchmark's guard against a density of 0."""


def cc(prediction: FloatMap, truth: FloatMap) -> float:
    """Compute Pearson's linear correlation coefficient.

    Args:
        prediction: (h', w'), any range.
        truth: (h, w) ground truth, any range.

    Returns:
        -1 to 1; 0 where either map is constant.
    """
    first, second = standardize(resize_map(prediction, truth.shape)), standardize(truth)
    return float(np.mean(first * second))


def kldiv(prediction: FloatMap, truth: FloatMap) -> float:
    """Compute the Kullback-Leibler divergence of the prediction from the truth, in nats.

    The sum of q log(e + q / (p + e)), with p and q the densities and e `DENSITY_EPSILON`, as in the MIT
    benchmark's code and in pysaliency's `MIT_KLDiv`.

    Args:
        prediction: (h', w'), any range.
        truth: (h, w) ground truth, any range.

    Returns:
        0 for equal densities, up to about 36.
    """
    p, q = density(resize_map(prediction, truth.shape)), density(truth)
    return float(np.sum(q * np.log(DENSITY_EPSILON + q / (p + DENSITY_EPSILON))))


def density(saliency: FloatMap) -> NDArray[np.float64]:
    """Scale a map to a sum of 1, after shifting negative values up to 0.

    Returns:
        (h, w), 0 to 1; uniform where the map sums to 0.
    """
    values = saliency.astype(np.float64)
    values -= min(float(values.min()), 0.0)
    total = values.sum()
    return values / total if total > 0 else np.full(values.shape, 1 / values.size)


def resize_map(saliency: FloatMap, size_hw: tuple[int, ...]) -> FloatMap:
    """Resize a map bilinearly, pixel centres at half numbers; the argument itself where the size fits.

    Args:
        saliency: (h', w').
        size_hw: h and w of the result.
    """
    if saliency.shape == tuple(size_hw):
        return saliency
    wide = saliency.astype(np.float64)
    return cv2.resize(wide, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR).astype(np.float64)


def standardize(values: FloatMap) -> NDArray[np.float64]:
    """Shift to mean 0 and scale to deviation 1; zeros where the map is constant."""
    wide = values.astype(np.float64)
    centred = wide - wide.mean()
    deviation = centred.std()
    flat = deviation <= 1e-12 * np.abs(wide).max()
    return np.zeros_like(centred) if flat else centred / deviation
