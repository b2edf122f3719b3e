"""Frames that are no photographs: they show where an implementation divides by zero, or overflows."""

from __future__ import annotations

import numpy as np

from ..frames import FrameSet


def odd_frames(size_hw: tuple[int, int]) -> FrameSet:
    """Make a black, a white and a noisy frame, one hot pixel on black, and a gradient.

    Args:
        size_hw: of the frames, in pixels.
    """
    black = np.zeros((*size_hw, 3), np.uint8)
    hot = black.copy()
    hot[size_hw[0] // 3, size_hw[1] // 2] = 255
    gradient = black.copy()
    gradient[:] = np.linspace(0, 255, size_hw[1], dtype=np.uint8)[None, :, None]
    noise = np.random.default_rng(7).integers(0, 256, black.shape, np.uint8)
    frames = {"black": black, "white": ~black, "noise": noise, "hot pixel": hot, "gradient": gradient}
    return FrameSet(names=tuple(frames), pixels=np.stack(list(frames.values())))
