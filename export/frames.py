"""The frames that an export is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.contract import Fit
from ..runtime.fit import fit_frame


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet:
    """Named frames at a network's size.

    Attributes:
        names: of the frames.
        pixels: (K, H, W, 3) BGR, 0 to 255.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.names)

    def every(self, step: int) -> FrameSet:
        """Take every `step`-th frame, from the first on."""
        return FrameSet(names=self.names[::step], pixels=self.pixels[::step])


def fitted(frames: Sequence[tuple[str, NDArray[np.uint8]]], size_hw: tuple[int, int], fit: Fit) -> FrameSet:
    """Bring frames to a network's size.

    Args:
        frames: name and pixels, (H', W', 3) BGR, of any sizes.
        size_hw: the network's, in pixels.
        fit: how.
    """
    names, images = zip(*frames, strict=True)
    return FrameSet(names=names, pixels=np.stack([fit_frame(image, size_hw, fit) for image in images]))


def in_batches(pixels: NDArray[np.uint8], batch: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Cut frames into batches that a graph takes; the last frame is repeated where the last batch is short.

    Args:
        pixels: (K, H, W, 3).
        batch: smallest and largest number of frames in a batch.
    """
    smallest, largest = batch
    batches = [pixels[start : start + largest] for start in range(0, len(pixels), largest)]
    lacking = smallest - len(batches[-1])
    if lacking > 0:
        batches[-1] = np.concatenate([batches[-1], *[batches[-1][-1:]] * lacking])
    return batches
