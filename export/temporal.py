"""Temporal parity: whether a graph's maps move from frame to frame as the fp32 graph's do.

A gate on still images does not see shimmer: maps that are each close to PyTorch's may still tremble. Over the
consecutive maps of a clip, values 0 to 1:

- flicker: the absolute difference of a map from the one before, the mean over cells, then over the steps;
- peak jump: `parity.peak_shift` from a map to the one before, in cells, the mean over the steps;
- added change: the absolute difference of a graph's step from the fp32 graph's step, the mean over cells,
  then over the steps, as a share of the fp32 graph's flicker. It shows what trembles even where the flicker
  is the same, because the trembling took away as much movement as it added.

A ratio is the graph's figure over the fp32 graph's, 1 for a graph that moves as fp32 does.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.contract import Contract, Precision
from ..runtime.errors import InputError
from ..runtime.stream.sources.open_source import open_source
from ..runtime.stream.sources.source import SourceOptions
from .frames import FrameSet, fitted
from .ort_session import ort_maps
from .parity import peak_shift

if TYPE_CHECKING:
    import onnx

CLIP_FRAMES = 24
MAX_FLICKER_RATIO = 1.10
_STILL = 1e-9
"""Movement below this counts as this: a clip that stands still gives a ratio of 1, not of 0 / 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """How a graph's maps move.

    Attributes:
        flicker: of each step, mean absolute difference of the cells, 0 to 1; one fewer than frames.
        peak_jump_cells: of each step.
        added: of each step, mean absolute difference from the fp32 graph's step, 0 to 1.
    """

    flicker: tuple[float, ...]
    peak_jump_cells: tuple[float, ...]
    added: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalParity:
    """How graphs move on a clip, against the fp32 graph.

    Attributes:
        clip: its file's name.
        frames: how many consecutive ones were taken, from its start.
        movements: of each graph by its precision, fp32 among them.
    """

    clip: str
    frames: int
    movements: Mapping[Precision, Movement]

    def flicker_ratio(self, precision: Precision) -> float:
        """Give a graph's mean flicker over the fp32 graph's."""
        return _ratio(self.movements[precision].flicker, self.movements["fp32"].flicker)

    def peak_jump_ratio(self, precision: Precision) -> float:
        """Give a graph's mean peak jump over the fp32 graph's."""
        return _ratio(self.movements[precision].peak_jump_cells, self.movements["fp32"].peak_jump_cells)

    def added_share(self, precision: Precision) -> float:
        """Give a graph's mean added change over the fp32 graph's mean flicker; 0 where it moves alike."""
        added = float(np.mean(self.movements[precision].added))
        return added / max(float(np.mean(self.movements["fp32"].flicker)), _STILL)

    def shimmers(self, precision: Precision) -> bool:
        """Tell whether a graph flickers more than `MAX_FLICKER_RATIO` allows."""
        return self.flicker_ratio(precision) > MAX_FLICKER_RATIO

    def allowed_share(self, precision: Precision) -> float:
        """Tell what share of the power of a shimmering graph's errors would leave it as much as is allowed.

        Errors hardly know of the movement, so their power adds to the power of the flicker.
        """
        most, found = MAX_FLICKER_RATIO, self.flicker_ratio(precision)
        return max(0.0, most**2 - 1) / max(found**2 - 1, _STILL)

    def sentence(self, precision: Precision) -> str:
        """Say how much a graph flickers."""
        ratio = _digits(self.flicker_ratio(precision))
        return (
            f"On the clip {self.clip}, {precision} flickers {ratio:.3f} times as "
            f"much as fp32 (at most {MAX_FLICKER_RATIO:.2f})"
        )

    def to_json(self) -> dict[str, Any]:
        """Give the figures and the steps as plain JSON values."""
        graphs = {precision: self._graph_json(precision) for precision in self.movements}
        return {
            "clip": self.clip,
            "frames": self.frames,
            "max_flicker_ratio": MAX_FLICKER_RATIO,
            "graphs": graphs,
        }

    def _graph_json(self, precision: Precision) -> dict[str, Any]:
        movement = self.movements[precision]
        return {
            "flicker": _digits(float(np.mean(movement.flicker))),
            "flicker_ratio": _digits(self.flicker_ratio(precision)),
            "peak_jump_cells": _digits(float(np.mean(movement.peak_jump_cells))),
            "peak_jump_ratio": _digits(self.peak_jump_ratio(precision)),
            "added_share": _digits(self.added_share(precision)),
            "steps": {
                "flicker": [_digits(value) for value in movement.flicker],
                "peak_jump_cells": [_digits(value) for value in movement.peak_jump_cells],
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMaps:
    """A clip's start and the fp32 graph's maps of it, computed once for all graphs that are compared.

    Attributes:
        clip: its file's name.
        frames: consecutive ones from its start, at the network's size.
        contract: the fp32 graph's.
        fp32: (K, h, w) its maps.
    """

    clip: str
    frames: FrameSet
    contract: Contract
    fp32: NDArray[np.float32]

    @classmethod
    def of(
        cls, path: Path, fp32: onnx.ModelProto, contract: Contract, max_frames: int = CLIP_FRAMES
    ) -> ClipMaps:
        """Run the fp32 graph on the start of a clip.

        Raises:
            InputError: the clip cannot be read, or has fewer than 2 frames.
        """
        frames = read_clip(path, contract, max_frames)
        maps = ort_maps(fp32, replace(contract, precision="fp32"), frames.pixels)
        return cls(clip=path.name, frames=frames, contract=contract, fp32=maps)

    def compared(self, models: Mapping[Precision, onnx.ModelProto]) -> TemporalParity:
        """Run other graphs on the same frames, and compare how their maps move."""
        maps = {
            precision: ort_maps(model, replace(self.contract, precision=precision), self.frames.pixels)
            for precision, model in models.items()
        }
        return compare_movement(self.clip, {"fp32": self.fp32, **maps})


def read_clip(path: Path, contract: Contract, max_frames: int = CLIP_FRAMES) -> FrameSet:
    """Read consecutive frames from a clip's start, at the network's size.

    Raises:
        InputError: the clip cannot be read, or has fewer than 2 frames.
    """
    with closing(open_source(str(path), SourceOptions(max_frames=max_frames))) as source:
        frames = [(frame.name, frame.image_bgr) for frame in source.frames()]
    if len(frames) < 2:
        raise InputError(f"{path} has {len(frames)} frame, expected 2 or more: movement lies between frames")
    return fitted(frames, contract.size_hw, contract.fit)


def compare_movement(clip: str, maps: Mapping[Precision, NDArray[np.float32]]) -> TemporalParity:
    """Compare how maps of the same frames move.

    Args:
        clip: its name.
        maps: (K, h, w) of each graph, 0 to 1, K 2 or more; fp32 among them.
    """
    reference = maps["fp32"]
    movements = {precision: _movement(found, reference) for precision, found in maps.items()}
    return TemporalParity(clip=clip, frames=len(reference), movements=movements)


def _movement(maps: NDArray[np.float32], reference: NDArray[np.float32]) -> Movement:
    steps = np.diff(maps.astype(np.float64), axis=0)  # (K - 1, h, w)
    reference_steps = np.diff(reference.astype(np.float64), axis=0)
    return Movement(
        flicker=_cell_means(steps),
        peak_jump_cells=tuple(peak_shift(later, earlier) for earlier, later in pairwise(maps)),
        added=_cell_means(steps - reference_steps),
    )


def _cell_means(steps: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.abs(steps).mean(axis=(1, 2)).tolist())


def _ratio(found: tuple[float, ...], reference: tuple[float, ...]) -> float:
    return max(float(np.mean(found)), _STILL) / max(float(np.mean(reference)), _STILL)


def _digits(value: float) -> float:
    """Keep the digits that two runs share."""
    return float(f"{value:.4g}")
