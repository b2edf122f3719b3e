"""Pictures that need no file: for timing, and to see whether frames still reach the network unchanged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_ENLARGED = 3
_TEXTURE = 24  # levels
_WIDE_ROWS, _TALL_COLUMNS = 0.61, 0.47  # no cut falls on a cell of a map


def synthetic_picture(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw rings that narrow outwards, of other widths in each colour: a wrong resize turns them to moire.

    Args:
        size_hw: in pixels.

    Returns:
        (H, W, 3) BGR.
    """
    rows, columns = (np.linspace(-1, 1, side) for side in size_hw)
    squared_radius = rows[:, np.newaxis] ** 2 + (columns[np.newaxis] - 0.3) ** 2  # (H, W)
    rings = [127.5 + 127.5 * np.cos(rate * squared_radius) for rate in (60.0, 35.0, 90.0)]
    picture: NDArray[np.uint8] = np.stack(rings, axis=-1).round().astype(np.uint8)
    return picture


def check_pictures(frame_bgr: NDArray[np.uint8]) -> Mapping[str, NDArray[np.uint8]]:
    """Make of one frame a wide and a tall picture at three times its size, with a fine texture.

    Their sizes are no multiples of the network's, so fit and crop have all their work to do; an average over
    areas removes the texture, any other way to shrink does not.

    Args:
        frame_bgr: (H, W, 3).

    Returns:
        `wide` and `tall`.
    """
    large = frame_bgr.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1).astype(np.int16)
    rows, columns = np.indices(large.shape[:2])
    large += (((rows + columns) % 2) * 2 * _TEXTURE - _TEXTURE)[..., np.newaxis].astype(np.int16)
    textured = np.clip(large, 0, 255).astype(np.uint8)
    height, width = textured.shape[:2]
    return {
        "wide": np.ascontiguousarray(textured[: int(height * _WIDE_ROWS)]),
        "tall": np.ascontiguousarray(textured[:, : int(width * _TALL_COLUMNS)]),
    }
