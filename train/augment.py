"""Augmentation that keeps pairs right: both move together, colour touches the photograph only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much a photograph may change.

    Attributes:
        flip: probability of mirroring left and right.
        crop: smallest share of height and width that a crop keeps; 1 crops nothing.
        colour: largest relative change of brightness, contrast and each channel; 0 changes nothing.
    """

    flip: float = 0.5
    crop: float = 0.85
    colour: float = 0.2


AUGMENTATION = Augmentation()
NO_AUGMENTATION = Augmentation(flip=0.0, crop=1.0, colour=0.0)


def augment(
    photograph: NDArray[np.uint8],
    density: NDArray[np.float32],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Change a pair at random.

    Args:
        photograph: (H, W, 3) BGR, 0 to 255.
        density: (h, w) or (h, w, K) of the same view, of any size.
        how: the limits.
        rng: where chance comes from; the same state gives the same pair.

    Returns:
        The changed pair; sizes may shrink by the crop, aspects stay.
    """
    keep = rng.uniform(how.crop, 1.0)
    at = rng.uniform(0.0, 1.0, size=2)
    photograph, density = _crop(photograph, keep, at), _crop(density, keep, at)
    if rng.random() < how.flip:
        photograph, density = (
            np.ascontiguousarray(photograph[:, ::-1]),
            np.ascontiguousarray(density[:, ::-1]),
        )
    return _shift_colours(photograph, how.colour, rng), density


def _crop(image: NDArray, keep: float, at: NDArray[np.float64]) -> NDArray:  # type: ignore[type-arg]
    """Keep a window of `keep` times the sides, its place given by `at` as fractions of the free room."""
    height, width = (max(1, round(side * keep)) for side in image.shape[:2])
    top, left = (
        round((full - side) * a) for full, side, a in zip(image.shape, (height, width), at, strict=False)
    )
    return image[top : top + height, left : left + width]


def _shift_colours(
    photograph: NDArray[np.uint8], limit: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    if limit == 0:
        return photograph
    gain = rng.uniform(1 - limit, 1 + limit) * rng.uniform(1 - limit / 2, 1 + limit / 2, size=3)
    offset = rng.uniform(-limit, limit) * 64
    table = np.arange(256)[:, None] * gain[None, :] + offset  # (256, 3)
    lookup = np.clip(table, 0, 255).astype(np.uint8)[None]
    return cv2.LUT(photograph, lookup).astype(np.uint8, copy=False)
