"""Fixation density maps from points: one Gaussian for each fixation."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .metrics import pixels_of

TRUNCATE_SIGMAS = 4.0
"""The Gaussian is cut off at this many sigmas; what lies beyond is 6e-5 of it in each direction."""


def fixation_counts(xy: NDArray[np.floating[Any]], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Count the fixations in each pixel.

    Args:
        xy: (K, 2), x to the right and y down, the first pixel covering 0 to 1. Those that fall outside are
            left out.
        size_hw: height and width of the stimulus that `xy` counts in, in pixels.

    Returns:
        (h, w) whole numbers.
    """
    counts = np.zeros(size_hw, np.float32)
    np.add.at(counts, pixels_of(xy, size_hw), 1.0)
    return counts


def fixation_map(
    xy: NDArray[np.floating[Any]], size_hw: tuple[int, int], sigma_px: float
) -> NDArray[np.float32]:
    """Blur the fixations into a density map.

    The Gaussian is cut off at `TRUNCATE_SIGMAS`; beyond the stimulus' edge there is nothing, so what a
    fixation near it spreads outside is lost (as in SALICON's maps).

    Args:
        xy: (K, 2) fixations, as for `fixation_counts`.
        size_hw: height and width of the stimulus, in pixels.
        sigma_px: the Gaussian's sigma, in pixels; 0 leaves the counts as they are.

    Returns:
        (h, w) fixations per pixel; its sum is about K, and 0 where there are no fixations.
    """
    counts = fixation_counts(xy, size_hw)
    if sigma_px == 0:
        return counts
    side = 2 * int(TRUNCATE_SIGMAS * sigma_px + 0.5) + 1
    blurred = cv2.GaussianBlur(
        counts, (side, side), sigma_px, sigmaY=sigma_px, borderType=cv2.BORDER_CONSTANT
    )
    return np.maximum(blurred, 0, dtype=np.float32)


def sigma_px_of(sigma_degrees: float, pixels_per_degree: float) -> float:
    """Convert a sigma in degrees of visual angle to pixels of the stimulus.

    Args:
        sigma_degrees: 1 by convention, the size of the fovea.
        pixels_per_degree: of the experiment's screen, such as 35 for MIT1003 and 38 for CAT2000.
    """
    return sigma_degrees * pixels_per_degree
