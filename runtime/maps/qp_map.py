"""Saliency for a video encoder: QP offsets for each macroblock, more bits where people look.

In H.264 and H.265 a QP that is 6 higher doubles the quantiser's step, and about halves a block's bits. A
block of saliency s, 0 to 1, gets the offset

    6 log2(mean(2^(strength s / 6))) - strength s

whose first part is one number for the whole frame: it keeps the frame's bits where they were even before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..video.frame import SaliencyMap

BLOCK_PX = 16  # a macroblock's side in H.264, and the unit that FFmpeg gives x264 its regions in
LARGEST_STRENGTH = 24.0

_QP_FOR_HALF_THE_BITS = 6.0
_COARSE_STEP_QP = 4  # of --qp-map's filter: as good as 2 where people look, with a quarter of the rectangles


@dataclass(frozen=True, slots=True, kw_only=True)
class QpMapOptions:
    """How saliency becomes QP offsets.

    Attributes:
        strength: how many QP lie between a block of saliency 0 and one of saliency 1, above 0 to 24.
    """

    strength: float = 10.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: one of them cannot be.
        """
        if not 0 < self.strength <= LARGEST_STRENGTH:
            raise UsageError(f"QP strength is {self.strength}, expected above 0 to {LARGEST_STRENGTH:.0f}")


def qp_offsets(saliency: SaliencyMap, options: QpMapOptions) -> NDArray[np.int8]:
    """Compute the offsets of one frame's macroblocks.

    Returns:
        (rows, columns), to be added to the encoder's QP; below 0 where people look. The blocks of the last
        row and column may reach beyond the frame.
    """
    values = np.clip(_values_at_blocks(saliency), 0.0, 1.0).astype(np.float64)
    gains = options.strength * values
    level = _QP_FOR_HALF_THE_BITS * math.log2(np.exp2(gains / _QP_FOR_HALF_THE_BITS).mean())
    return np.rint(level - gains).astype(np.int8)


def coarse_offsets(frames: Sequence[NDArray[np.int8]]) -> NDArray[np.int8]:
    """Average the offsets of some frames, and of four blocks each: little is lost, and few rectangles remain.

    Args:
        frames: each (rows, columns).

    Returns:
        (rows, columns) in steps of 4 QP.
    """
    mean: NDArray[np.float64] = np.mean(frames, axis=0)
    rows, columns = mean.shape
    padded = np.pad(mean, ((0, rows % 2), (0, columns % 2)), mode="edge")
    fours = padded.reshape(len(padded) // 2, 2, -1, 2).mean(axis=(1, 3))
    steps = (np.rint(fours / _COARSE_STEP_QP) * _COARSE_STEP_QP).astype(np.int8)
    blocks: NDArray[np.int8] = steps.repeat(2, axis=0).repeat(2, axis=1)[:rows, :columns]
    return blocks


def _values_at_blocks(saliency: SaliencyMap) -> NDArray[np.float32]:
    """Give the map at the blocks' centres, bilinearly between the centres of its cells."""
    (height, width), (map_height, map_width) = saliency.frame.size_hw, saliency.values.shape
    columns, rows = (
        _cells_at_blocks(length, cells) for length, cells in ((width, map_width), (height, map_height))
    )
    grid_x, grid_y = np.meshgrid(columns, rows)
    found = cv2.remap(saliency.values, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.astype(np.float32, copy=False)


def _cells_at_blocks(length_px: int, cells: int) -> NDArray[np.float32]:
    """Give the centres of the blocks along one side of the frame, in cells of the map."""
    centres_px = (np.arange(-(-length_px // BLOCK_PX)) + 0.5) * BLOCK_PX
    return (centres_px * cells / length_px - 0.5).astype(np.float32)
