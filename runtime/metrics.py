"""Saliency metrics between a predicted map and what people looked at, in numpy.

Conventions, those of pysaliency and of the MIT/Tübingen benchmark where they agree:

- A map is a float array (h, w). It is read as it is; where its minimum is below 0, it is shifted up to 0
  before it is taken as a density, and a map that sums to 0 is taken as the uniform density.
- A prediction of another size than the ground truth is resized to it bilinearly (`resize_map`).
- A constant map has a CC of 0 with everything.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.floating[Any]]

KLDIV_EPSILON = 2.2204e-16
"""The MIT benchmark's: added to the prediction's density, and to the quotient within the logarithm."""


def cc(prediction: FloatMap, truth: FloatMap) -> float:
    """Compute Pearson's linear correlation coefficient.

    Args:
        prediction: (h', w'), any range.
        truth: (h, w) ground truth, any range.

    Returns:
        -1 to 1; 0 where either map is constant.
    """
    first, second = _standardised(resize_map(prediction, truth.shape)), _standardised(truth)
    return float(np.mean(first * second))


def kldiv(prediction: FloatMap, truth: FloatMap) -> float:
    """Compute the Kullback-Leibler divergence of the prediction from the truth, in nats.

    The sum of q log(e + q / (p + e)), with p and q the densities and e `KLDIV_EPSILON`, as in the MIT
    benchmark's code and in pysaliency's `MIT_KLDiv`.

    Args:
        prediction: (h', w'), any range.
        truth: (h, w) ground truth, any range.

    Returns:
        0 for equal densities, up to about 36.
    """
    p, q = density(resize_map(prediction, truth.shape)), density(truth)
    return float(np.sum(q * np.log(KLDIV_EPSILON + q / (p + KLDIV_EPSILON))))


def sim(prediction: FloatMap, truth: FloatMap) -> float:
    """Compute the similarity: the sum of the smaller of the two densities in each pixel.

    As in pysaliency. The MIT benchmark's code stretches both maps to 0 to 1 first, which takes off their
    minimum.

    Args:
        prediction: (h', w'), any range.
        truth: (h, w) ground truth, any range.

    Returns:
        0 to 1; 1 for equal densities.
    """
    return float(np.minimum(density(resize_map(prediction, truth.shape)), density(truth)).sum())


def nss(prediction: FloatMap, xy: FloatMap, size_hw: tuple[int, int] | None = None) -> float:
    """Compute the normalised scanpath saliency: the mean z-score of the map at the fixations.

    Every fixation counts, also where two fall on one pixel; the deviation is that of the population.

    Args:
        prediction: (h', w'), any range.
        xy: (K, 2) fixations in pixels of a stimulus of `size_hw`.
        size_hw: the stimulus' height and width; the prediction's own where it is None.

    Returns:
        0 for a constant map, NaN where there are no fixations.
    """
    saliency = resize_map(prediction, size_hw or prediction.shape)
    return _mean(values_at(_standardised(saliency), xy))


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


def values_at(saliency: FloatMap, xy: FloatMap) -> FloatMap:
    """Look a map up at fixations, each rounded to the nearest pixel of the map.

    Args:
        saliency: (h, w).
        xy: (K, 2), pixel centres at whole numbers.

    Returns:
        (K,) values.
    """
    height, width = saliency.shape
    column = np.clip(np.rint(xy[:, 0]).astype(np.intp), 0, width - 1)
    row = np.clip(np.rint(xy[:, 1]).astype(np.intp), 0, height - 1)
    return saliency[row, column]


def _standardised(values: FloatMap) -> NDArray[np.float64]:
    """Shift to mean 0 and scale to deviation 1; zeros where the map is constant."""
    wide = values.astype(np.float64)
    centred = wide - wide.mean()
    deviation = centred.std()
    flat = deviation <= 1e-12 * np.abs(wide).max()
    return np.zeros_like(centred) if flat else centred / deviation


def _mean(values: FloatMap) -> float:
    return float(values.mean()) if values.size else float("nan")
