"""Accuracy as a baseline holds it: difference from the golden maps, and maps of frames of other sizes.

Golden frames have the network's size, so they show what the model computes. Frames of other sizes show the
way to it: fit and crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.backend import Model, infer_one, saliency_of
from ..metrics import cc
from ..parity import GoldenFrames
from .timing import synthetic_frame

_SAMPLED_HW = (12, 16)  # cells of a map that a baseline keeps
_LEVELS = 100_000  # 0 to 1 as integers: a baseline stays short to read
_SCALE = 3
_TEXTURE = 24  # levels
_WIDE_ROWS, _TALL_COLUMNS = 0.61, 0.47  # no cut falls on a cell of a map


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenDifference:
    """Difference between an engine's maps of a bundle's golden frames and PyTorch's, on the worst frame.

    Attributes:
        max_abs: largest absolute difference of a cell.
        mean_abs: mean absolute difference.
        cc: linear correlation.
    """

    max_abs: float
    mean_abs: float
    cc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSample:
    """Some cells of a frame's map, after fit, inference and crop.

    Attributes:
        map_hw: the map's height and width in cells.
        levels: evenly spaced cells, row by row, as 0 to 100,000.
    """

    map_hw: tuple[int, int]
    levels: tuple[int, ...]

    def largest_difference(self, other: MapSample) -> float:
        """Largest difference of a cell, in 0 to 1; both maps have one size."""
        difference = np.array(self.levels, np.int64) - np.array(other.levels, np.int64)
        return float(np.abs(difference).max()) / _LEVELS


def compare_with_golden(engine: Model, golden: GoldenFrames) -> GoldenDifference:
    """Compute the maps of the golden frames and compare them with PyTorch's."""
    differences, correlations = [], []
    for frame, expected in zip(golden.pixels, golden.maps, strict=True):
        found = infer_one(engine, frame)
        differences.append(np.abs(found.astype(np.float64) - expected))
        correlations.append(cc(found, expected))
    return GoldenDifference(
        max_abs=max(float(difference.max()) for difference in differences),
        mean_abs=max(float(difference.mean()) for difference in differences),
        cc=min(correlations),
    )


def sample_maps(engine: Model, golden: GoldenFrames | None) -> Mapping[str, MapSample]:
    """Samples of the maps of a wide and a tall frame, after fit, inference and crop.

    Args:
        engine: computes the maps.
        golden: its first frame is what both are made of; without it, a synthetic frame is.

    Returns:
        Samples by the frame's name, `wide` and `tall`.
    """
    base = golden.pixels[0] if golden else synthetic_frame(engine.contract.size_hw)
    samples = {}
    for name, frame in odd_sized_frames(base).items():
        saliency = saliency_of(engine, frame)  # (h, w)
        rows, columns = (
            np.linspace(0, side - 1, min(side, cells)).round().astype(int)
            for side, cells in zip(saliency.shape, _SAMPLED_HW, strict=True)
        )
        levels = (saliency[np.ix_(rows, columns)].astype(np.float64) * _LEVELS).round().astype(int)
        samples[name] = MapSample(
            map_hw=(saliency.shape[0], saliency.shape[1]), levels=tuple(int(level) for level in levels.flat)
        )
    return samples


def odd_sized_frames(frame_bgr: NDArray[np.uint8]) -> Mapping[str, NDArray[np.uint8]]:
    """A wide and a tall frame at three times the size of another one, with a fine texture.

    Their sizes are no multiples of the network's, so fit and crop have all their work to do. Resizing by area
    averages the texture away; any other way to shrink does not.

    Args:
        frame_bgr: (H, W, 3).

    Returns:
        Frames by name, `wide` and `tall`.
    """
    large = frame_bgr.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1).astype(np.int16)
    rows, columns = np.indices(large.shape[:2])
    large += (((rows + columns) % 2) * 2 * _TEXTURE - _TEXTURE)[..., np.newaxis].astype(np.int16)
    textured = np.clip(large, 0, 255).astype(np.uint8)
    height, width = textured.shape[:2]
    return {
        "wide": np.ascontiguousarray(textured[: int(height * _WIDE_ROWS)]),
        "tall": np.ascontiguousarray(textured[:, : int(width * _TALL_COLUMNS)]),
    }
