"""Whether maps are still right: against PyTorch's golden maps, and from a picture of any size to its map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.backend import Model, infer_one, saliency_of
from ..metrics import cc
from ..parity import GoldenFrames
from .pictures import check_pictures, synthetic_picture

_SAMPLED_HW = (12, 16)  # cells of a map that a baseline keeps
_LEVELS = 100_000  # 0 to 1 as whole numbers: a baseline stays short to read


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """How an engine's maps of a bundle's golden frames differ from PyTorch's, on the worst frame.

    Attributes:
        max_abs: largest absolute difference of a cell.
        mean_abs: mean absolute difference.
        cc: correlation.
    """

    max_abs: float
    mean_abs: float
    cc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSample:
    """Some cells of the map of a picture, after fit, inference and crop.

    Attributes:
        map_hw: the map's height and width, in cells.
        levels: evenly spaced cells, row by row, as 0 to 100,000.
    """

    map_hw: tuple[int, int]
    levels: tuple[int, ...]

    def largest_difference(self, other: MapSample) -> float:
        """Give the largest difference of a cell, in 0 to 1; both maps have one size."""
        difference = np.array(self.levels, np.int64) - np.array(other.levels, np.int64)
        return float(np.abs(difference).max()) / _LEVELS


def hold_against_golden(engine: Model, golden: GoldenFrames) -> Golden:
    """Compute the maps of the golden frames, and compare the worst of them."""
    differences, correlations = [], []
    for frame, expected in zip(golden.pixels, golden.maps, strict=True):
        found = infer_one(engine, frame)
        differences.append(np.abs(found.astype(np.float64) - expected))
        correlations.append(cc(found, expected))
    return Golden(
        max_abs=max(float(difference.max()) for difference in differences),
        mean_abs=max(float(difference.mean()) for difference in differences),
        cc=min(correlations),
    )


def sample_maps(engine: Model, golden: GoldenFrames | None) -> Mapping[str, MapSample]:
    """Take the check pictures the whole way, and sample their maps.

    Args:
        engine: what makes maps.
        golden: the pictures are made of its first frame; without it, of a drawn one.
    """
    frame = golden.pixels[0] if golden else synthetic_picture(engine.contract.size_hw)
    pictures = check_pictures(frame)
    return {name: _sample_of(saliency_of(engine, picture)) for name, picture in pictures.items()}


def _sample_of(saliency: NDArray[np.float32]) -> MapSample:
    rows, columns = (
        np.linspace(0, side - 1, min(side, cells)).round().astype(int)
        for side, cells in zip(saliency.shape, _SAMPLED_HW, strict=True)
    )
    levels = (saliency[np.ix_(rows, columns)].astype(np.float64) * _LEVELS).round().astype(int)
    return MapSample(
        map_hw=(saliency.shape[0], saliency.shape[1]), levels=tuple(int(level) for level in levels.flat)
    )
