"""The gate: an int8 graph's maps on frames that took no part in calibration, compared with PyTorch's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...calib.calibrate import frame_hash
from ...calib.frames import SHIPPED_CLIP_FRAMES, shipped_frames
from ...calib.ranges import ActivationRanges
from ...runtime.contract import Contract, Precision
from ...runtime.errors import InputError
from ..frames import FrameSet, fitted
from ..ort_session import ort_maps
from ..parity import Agreement, compare
from .results import GateFigures, GateLimits, gate_figures
from .search_cache import SearchCache

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What graphs are judged by.

    Attributes:
        limits: what they must keep.
        frames: K of them.
        references: (K, h, w) PyTorch's maps.
        contract: of the graphs.
    """

    limits: GateLimits
    frames: FrameSet
    references: NDArray[np.float32]
    contract: Contract

    def agreements(
        self, name: str, model: onnx.ModelProto, precision: Precision, cache: SearchCache
    ) -> dict[str, Agreement]:
        """Run a graph on the gate's frames, unless that was done before.

        Args:
            name: of the measurement in the cache.
            model: the graph, its rounding written out: ONNX Runtime drops the casts of a typed one.
            precision: of the typed graph.
            cache: of this search.

        Raises:
            ParityError: a map holds NaN.
        """

        def measure() -> dict[str, dict[str, float]]:
            contract = replace(self.contract, precision=precision)
            maps = ort_maps(model, contract, self.frames.pixels)
            parity = compare(precision, self.frames.names, maps, self.references, rounded=True)
            return {frame: asdict(values) for frame, values in parity.frames.items()}

        return {frame: Agreement(**values) for frame, values in cache.once(name, measure).items()}

    def judge(self, agreements: dict[str, Agreement]) -> tuple[GateFigures, bool]:
        """Give the figures, and whether they pass."""
        figures = gate_figures(agreements)
        return figures, not figures.failures(self.limits)


Frame = tuple[str, NDArray[np.uint8]]

_DETAIL = 2 / 3
"""Of a frame's height and width."""


def shipped_gate_frames(contract: Contract) -> FrameSet:
    """Give the shipped photographs and frames of the clip, and two details of each photograph.

    With 25 frames one peak that jumps to its twin stays beyond the 95th percentile.
    """
    shipped = shipped_frames()
    details = [detail for frame in shipped[:-SHIPPED_CLIP_FRAMES] for detail in _details(frame)]
    return fitted([*shipped, *details], contract.size_hw, contract.fit)


def shipped_probes(contract: Contract) -> FrameSet:
    """Give frames to take decisions on that are none of the gate's: the shipped ones, mirrored.

    Photographs and frames of the clip take turns.
    """
    frames = [
        (f"{name}, mirrored", np.ascontiguousarray(pixels[:, ::-1])) for name, pixels in shipped_frames()
    ]
    photos, clip = frames[:-SHIPPED_CLIP_FRAMES], frames[-SHIPPED_CLIP_FRAMES:]
    turns = [frame for pair in zip(photos, clip, strict=False) for frame in pair]
    return fitted([*turns, *photos[len(clip) :]], contract.size_hw, contract.fit)


def unseen(frames: FrameSet, ranges: ActivationRanges) -> FrameSet:
    """Leave out the frames that the ranges were made from.

    Raises:
        InputError: none is left.
    """
    seen = set(ranges.key.frames_sha256)
    places = [place for place, pixels in enumerate(frames.pixels) if frame_hash(pixels) not in seen]
    if not places:
        raise InputError(
            "all frames of the gate took part in calibration, and prove nothing. Give others: --calib PATH"
        )
    return FrameSet(names=tuple(frames.names[place] for place in places), pixels=frames.pixels[places])


def _details(frame: Frame) -> list[Frame]:
    name, pixels = frame
    height, width = (round(_DETAIL * side) for side in pixels.shape[:2])
    return [
        (f"{name}, top left", pixels[:height, :width]),
        (f"{name}, bottom right", pixels[-height:, -width:]),
    ]
