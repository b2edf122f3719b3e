"""Saliency maps as pictures: blended over the frame, or beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..frame import SaliencyMap

View = Literal["overlay", "side-by-side"]

_COLOUR_DIVISOR = 4  # colours are mixed at a quarter of the frame's size: a map has no finer detail


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """How maps are shown.

    Attributes:
        view: `overlay` blends colours over the frame; `side-by-side` puts the coloured map to its right.
        opacity: of the overlay where saliency is 1, in 0 to 1; in proportion elsewhere, so that the frame
            stays clear where nobody looks.
        colormap: an OpenCV colour map, such as `inferno`, `turbo`, `viridis`, `jet`, `hot`.
    """

    view: View = "overlay"
    opacity: float = 0.75
    colormap: str = "inferno"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: one of them cannot be.
        """
        if self.view not in get_args(View):
            raise UsageError(f"unknown view {self.view!r}. Choose one of {', '.join(get_args(View))}")
        if not 0 <= self.opacity <= 1:
            raise UsageError(f"opacity is {self.opacity}, expected 0 to 1")
        if self.colormap not in colormaps():
            raise UsageError(f"unknown colour map {self.colormap!r}. Choose one of {', '.join(colormaps())}")


def colormaps() -> dict[str, int]:
    """OpenCV's colour maps: their numbers by name, in lower case."""
    prefix = "COLORMAP_"
    return {
        name.removeprefix(prefix).lower(): getattr(cv2, name)
        for name in sorted(dir(cv2))
        if name.startswith(prefix)
    }


class Renderer:
    """Makes a picture of each map, in buffers of its own."""

    def __init__(self, options: RenderOptions) -> None:
        """Take the options; buffers are made when the first frame gives the size."""
        self._options = options
        self._palette = palette_of(options.colormap)
        self._buffers = _Buffers((0, 0))

    def render(self, saliency: SaliencyMap) -> NDArray[np.uint8]:
        """Make the picture of one map.

        Args:
            saliency: the map and its frame, of H x W pixels.

        Returns:
            (H, W, 3) BGR, or (H, 2 W, 3) side by side; the renderer owns it and overwrites it next time.
        """
        if self._buffers.size_hw != saliency.frame.size_hw:
            self._buffers = _Buffers(saliency.frame.size_hw)
        if self._options.view == "overlay":
            return self._overlay(saliency)
        return self._side_by_side(saliency)

    def _overlay(self, saliency: SaliencyMap) -> NDArray[np.uint8]:
        """Mix frame x (1 - alpha) + colour x alpha, alpha = opacity x saliency, with 255 for 1."""
        size_wh = saliency.frame.size_hw[::-1]
        levels = _levels_of(saliency)
        alpha = cv2.convertScaleAbs(levels, alpha=self._options.opacity)
        palette_alpha = cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR)
        colours = cv2.multiply(cv2.applyColorMap(levels, self._palette), palette_alpha, scale=1 / 255)
        clear, kept, mixed = self._buffers.clear, self._buffers.kept, self._buffers.mixed
        cv2.resize(cv2.bitwise_not(alpha), size_wh, dst=clear)
        cv2.cvtColor(clear, cv2.COLOR_GRAY2BGR, dst=kept)
        cv2.multiply(saliency.frame.image_bgr, kept, dst=kept, scale=1 / 255)
        cv2.resize(colours, size_wh, dst=mixed)
        cv2.add(kept, mixed, dst=mixed)
        return mixed

    def _side_by_side(self, saliency: SaliencyMap) -> NDArray[np.uint8]:
        size_wh = saliency.frame.size_hw[::-1]
        colours = cv2.applyColorMap(_levels_of(saliency), self._palette)
        cv2.resize(colours, size_wh, dst=self._buffers.mixed)
        return np.hstack([saliency.frame.image_bgr, self._buffers.mixed])


class _Buffers:
    """Memory for one frame size; fresh memory for each frame costs as much as the mixing."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.clear = np.empty(size_hw, np.uint8)
        self.kept = np.empty((*size_hw, 3), np.uint8)
        self.mixed = np.empty((*size_hw, 3), np.uint8)


def palette_of(colormap: str) -> NDArray[np.uint8]:
    """Colour map as a table, (256, 1, 3) BGR."""
    levels = np.arange(256, dtype=np.uint8).reshape(256, 1)
    return cv2.applyColorMap(levels, colormaps()[colormap]).astype(np.uint8, copy=False)


def _levels_of(saliency: SaliencyMap) -> NDArray[np.uint8]:
    """Map in levels of 0 to 255, smoothly enlarged to a part of the frame's size.

    Enlarged before it is coloured: between two colours of a palette lie colours that mean something else.
    """
    frame_hw, map_hw = saliency.frame.size_hw, saliency.values.shape
    height, width = (max(map_hw[axis], -(-frame_hw[axis] // _COLOUR_DIVISOR)) for axis in (0, 1))
    values = cv2.resize(saliency.values, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
