"""Metrics of an evaluation: a predicted map against a map of fixations, or against the fixations themselves.

| metric                                        | against      | best | chance          |
| --------------------------------------------- | ------------ | ---- | --------------- |
| `cc`, `sim`, `kldiv`                          | a map        | 1, 1, 0 |              |
| `nss`, `information_gain`                     | fixations    | high | 0               |
| `auc_judd`, `auc_borji`, `auc_shuffled`       | fixations    | 1    | 0.5             |

Conventions, those of pysaliency and of the MIT/Tübingen benchmark where they agree:

- A map is a float array (h, w). It is read as it is; where its minimum is below 0, it is shifted up to 0
  before it is taken as a density, and a map that sums to 0 is taken as the uniform density.
- A prediction of another size than the ground truth is resized to it bilinearly (`resize_map`).
- Fixations are (K, 2) float x, y in pixels of the stimulus; the first pixel covers 0 to 1, so each falls
  into the pixel of its floor. Those outside are left out. Every fixation counts, also where two fall into
  one pixel (the MIT benchmark's code counts such a pixel once).
- A constant map scores a CC and an NSS of 0 and an AUC of 0.5. Without fixations the metrics that need them
  are NaN: undefined, to be left out of a mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runtime.metrics import DENSITY_EPSILON, FloatMap, cc, density, kldiv, resize_map, standardize

__all__ = [
    "FloatMap",
    "auc_borji",
    "auc_judd",
    "auc_shuffled",
    "cc",
    "density",
    "information_gain",
    "kldiv",
    "nss",
    "pixels_of",
    "resize_map",
    "sim",
    "values_at",
]


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

    The deviation is that of the population, as in pysaliency (the MIT benchmark's code takes the sample's).

    Args:
        prediction: (h', w'), any range.
        xy: (K, 2) fixations in pixels of a stimulus of `size_hw`.
        size_hw: the stimulus' height and width; the prediction's own where it is None.

    Returns:
        0 at chance; NaN where there are no fixations.
    """
    return _mean(values_at(standardize(_at_size(prediction, size_hw)), xy))


def information_gain(
    prediction: FloatMap, baseline: FloatMap, xy: FloatMap, size_hw: tuple[int, int] | None = None
) -> float:
    """Compute the information gain over a baseline, in bits for each fixation.

    The mean of log2(p + e) - log2(b + e) at the fixations, p and b the densities of both maps and e
    `DENSITY_EPSILON` (Kümmerer et al., 2015; pysaliency has no e, so a density of 0 costs it infinity).
    A map becomes a density by its sum alone: one that was not trained as a density may well score below 0.

    Args:
        prediction: (h', w'), any range.
        baseline: (h'', w''), any range, such as a centre prior.
        xy: (K, 2) fixations in pixels of a stimulus of `size_hw`.
        size_hw: the stimulus' height and width; the prediction's own where it is None.

    Returns:
        0 where the prediction is no better than the baseline; NaN where there are no fixations.
    """
    saliency = _at_size(prediction, size_hw)
    p = values_at(density(saliency), xy)
    b = values_at(density(resize_map(baseline, saliency.shape)), xy)
    return _mean(np.log2(p + DENSITY_EPSILON) - np.log2(b + DENSITY_EPSILON))


def auc_judd(prediction: FloatMap, xy: FloatMap, size_hw: tuple[int, int] | None = None) -> float:
    """Compute Judd's area under the ROC curve: fixations against all pixels without one.

    The curve is drawn through the thresholds at the fixations' values, and the trapezoids below it are
    summed, as in the MIT benchmark's code and pysaliency's `AUC_Judd`. Both add noise of 1e-7 to part equal
    values; here nothing is added, and equal values count half. With few fixations the trapezoids are coarse.

    Args:
        prediction: (h', w'), any range.
        xy: (K, 2) fixations in pixels of a stimulus of `size_hw`.
        size_hw: the stimulus' height and width; the prediction's own where it is None.

    Returns:
        0 to 1, 0.5 at chance; NaN where there are no fixations, or nothing else.
    """
    saliency = _at_size(prediction, size_hw)
    row, column = pixels_of(xy, saliency.shape)
    unfixated = np.ones(saliency.shape, bool)
    unfixated[row, column] = False
    fixated, others = np.sort(saliency[row, column]), np.sort(saliency[unfixated])
    if not fixated.size or not others.size:
        return float("nan")
    thresholds = np.unique(fixated)[::-1]
    hits = np.concatenate(([0.0], _share_from(thresholds, fixated), [1.0]))
    false_alarms = np.concatenate(([0.0], _share_from(thresholds, others), [1.0]))
    return float(np.sum(np.diff(false_alarms) * (hits[1:] + hits[:-1]) / 2))


def auc_borji(
    prediction: FloatMap,
    xy: FloatMap,
    size_hw: tuple[int, int] | None = None,
    *,
    seed: int = 0,
    splits: int = 100,
) -> float:
    """Compute Borji's area under the ROC curve: fixations against pixels drawn at random.

    As many pixels as fixations are drawn, uniformly and with replacement, `splits` times. All values are
    thresholds, so the mean over the splits is the area against all drawn pixels together (the MIT benchmark's
    code steps its thresholds by 0.1 of the map's range, which makes it coarser).

    Args:
        prediction: (h', w'), any range.
        xy: (K, 2) fixations in pixels of a stimulus of `size_hw`.
        size_hw: the stimulus' height and width; the prediction's own where it is None.
        seed: of the draw.
        splits: how many times K pixels are drawn.

    Returns:
        0 to 1, 0.5 at chance; NaN where there are no fixations.
    """
    saliency = _at_size(prediction, size_hw)
    fixated = values_at(saliency, xy)
    drawn = np.random.default_rng(seed).integers(0, saliency.size, fixated.size * splits)
    return _area(fixated, saliency.ravel()[drawn])


def auc_shuffled(
    prediction: FloatMap, xy: FloatMap, others_xy: FloatMap, size_hw: tuple[int, int] | None = None
) -> float:
    """Compute the shuffled area under the ROC curve (sAUC): fixations against those of other images.

    It takes the bias towards the centre out of the score: a centre prior is at chance. All given
    non-fixations count, as in pysaliency (the MIT benchmark's code draws from ten other images).

    Args:
        prediction: (h', w'), any range.
        xy: (K, 2) fixations in pixels of a stimulus of `size_hw`.
        others_xy: (M, 2) fixations on other images, scaled to this stimulus.
        size_hw: the stimulus' height and width; the prediction's own where it is None.

    Returns:
        0 to 1, 0.5 at chance; NaN where there are no fixations, or none on other images.
    """
    saliency = _at_size(prediction, size_hw)
    return _area(values_at(saliency, xy), values_at(saliency, others_xy))


def pixels_of(xy: FloatMap, size_hw: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Tell into which pixels fixations fall, and leave out those that fall outside.

    Args:
        xy: (K, 2), the first pixel covering 0 to 1.
        size_hw: height and width of the stimulus, in pixels.

    Returns:
        Rows and columns, (K',) each.
    """
    column, row = np.floor(xy.reshape(-1, 2)).astype(np.intp).T
    inside = (row >= 0) & (row < size_hw[0]) & (column >= 0) & (column < size_hw[1])
    return row[inside], column[inside]


def values_at(saliency: FloatMap, xy: FloatMap) -> FloatMap:
    """Look a map up at fixations.

    Args:
        saliency: (h, w).
        xy: (K, 2), as for `pixels_of`.

    Returns:
        (K',) values, without those outside.
    """
    return saliency[pixels_of(xy, saliency.shape)]


def _at_size(prediction: FloatMap, size_hw: tuple[int, int] | None) -> FloatMap:
    return resize_map(prediction, size_hw or prediction.shape)


def _share_from(thresholds: FloatMap, ascending: FloatMap) -> NDArray[np.float64]:
    """For each threshold, the share of the values that reach it."""
    return 1 - np.searchsorted(ascending, thresholds, side="left") / ascending.size


def _area(positives: FloatMap, negatives: FloatMap) -> float:
    """Chance that a positive lies above a negative, equal ones counting half: the area under the curve."""
    if not negatives.size:
        return float("nan")
    ascending = np.sort(negatives)
    below = np.searchsorted(ascending, positives, side="left")
    up_to = np.searchsorted(ascending, positives, side="right")
    return _mean((below + up_to) / (2 * negatives.size))


def _mean(values: FloatMap) -> float:
    return float(values.mean()) if values.size else float("nan")
