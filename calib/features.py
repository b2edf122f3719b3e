"""What kind of frame it is: a few named features, and a perceptual hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.fit import resize

Kind = Literal["dark", "bright", "flat", "colourful"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_LOOKED_AT_HW = (120, 160)
_HASH_HW = (8, 9)
_DUPLICATE_BITS = 4  # of 64
_DUPLICATE_LUMINANCE = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A frame in a few figures, each 0 to 255.

    Attributes:
        luminance: mean of grey levels.
        contrast: their standard deviation.
        texture: mean magnitude of their gradient, per pixel of a 120 x 160 picture.
        saturation: mean of the largest minus the smallest colour of each pixel.
        dhash: 64 bits, 16 hexadecimal digits: whether each of 8 x 8 cells is darker than its right neighbour
            (N. Krawetz, "Kind of Like That", 2013).
    """

    luminance: float
    contrast: float
    texture: float
    saturation: float
    dhash: str

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is special about the frame, if anything: its histograms stretch the ranges."""
        special: dict[Kind, bool] = {
            "dark": self.luminance < 64,
            "bright": self.luminance > 160,
            "flat": self.texture < 5,
            "colourful": self.saturation > 80,
        }
        return tuple(kind for kind, holds in special.items() if holds)


def features_of(frame_bgr: NDArray[np.uint8]) -> Features:
    """Measure a frame, (H, W, 3) BGR, 0 to 255, of any size."""
    small = resize(frame_bgr, _LOOKED_AT_HW)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)
    gradients = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return Features(
        luminance=round(float(grey.mean()), 2),
        contrast=round(float(grey.std()), 2),
        texture=round(float(np.hypot(*gradients).mean()), 2),
        saturation=round(float(np.mean(np.ptp(small.astype(np.int16), axis=2))), 2),
        dhash=_dhash(frame_bgr),
    )


def near_duplicates(features: list[Features]) -> dict[int, int]:
    """Find frames that look like an earlier one.

    Returns:
        By a frame's place, the place of the first frame that is kept and looks like it.
    """
    hashes = np.array([int(item.dhash, 16) for item in features], np.uint64)
    luminance = np.array([item.luminance for item in features])
    kept: list[int] = []
    alike: dict[int, int] = {}
    for place in range(len(features)):
        bits = _count_bits(hashes[kept] ^ hashes[place])
        near = (bits <= _DUPLICATE_BITS) & (np.abs(luminance[kept] - luminance[place]) < _DUPLICATE_LUMINANCE)
        if near.any():
            alike[place] = kept[int(np.argmax(near))]
        else:
            kept.append(place)
    return alike


def _dhash(frame_bgr: NDArray[np.uint8]) -> str:
    grey = np.asarray(cv2.cvtColor(resize(frame_bgr, _HASH_HW), cv2.COLOR_BGR2GRAY))
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


def _count_bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1)
    return np.asarray(bits.sum(axis=1), np.int64)
