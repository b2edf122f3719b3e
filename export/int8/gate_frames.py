"""The frames that the gate and the search look at where the user gives none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...calib.calibrate import frame_hash
from ...calib.frames import SHIPPED_CLIP_FRAMES, shipped_frames
from ...calib.ranges import ActivationRanges
from ...runtime.contract import Contract
from ...runtime.errors import InputError
from ..frames import FrameSet, fitted

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
