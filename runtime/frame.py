"""What travels through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame of a source.

    Attributes:
        index: its number in the source, from 0; frames that were skipped count.
        name: the image's stem, or the frame's number with leading zeros; unique in its source.
        image_bgr: (H, W, 3), 0 to 255, at the source's size.
        captured_s: when it was read, by `time.monotonic`.
        timestamp_s: its time in the source, where the source has one.
        stream: which of several sources it comes from, from 0.
    """

    index: int
    name: str
    image_bgr: NDArray[np.uint8]
    captured_s: float
    timestamp_s: float | None = None
    stream: int = 0

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.image_bgr.shape[0], self.image_bgr.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaliencyMap:
    """What people would look at in a frame.

    Attributes:
        frame: that frame.
        values: (h, w) float32, 0 to 1, in the network's cells; its edges are the frame's edges.
        dropped: frames of its stream that were dropped between the map before it and this one.
    """

    frame: Frame
    values: NDArray[np.float32]
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of the frame that people look at.

    Attributes:
        identity: the same in all frames that show it, from 1, never used again in its stream.
        box_xyxy_px: left, top, right and bottom edge in the frame's pixels; right and bottom are beyond it.
        peak: largest value inside, 0 to 1.
        area: of the region itself, not of its box, as a fraction of the frame's.
    """

    identity: int
    box_xyxy_px: tuple[int, int, int, int]
    peak: float
    area: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the sinks get for each frame.

    Attributes:
        saliency: the map, with its frame.
        picture_bgr: (H, W, 3) from the renderer, good until `write` returns; the frame itself where no sink
            shows pictures.
        age_s: from the frame's capture until the result was made.
        regions: where people look, as boxes; empty where nobody asked.
        unsmoothed: (h, w) the map's values before they were averaged over time; None where they were not.
    """

    saliency: SaliencyMap
    picture_bgr: NDArray[np.uint8]
    age_s: float
    regions: tuple[Region, ...] = ()
    unsmoothed: NDArray[np.float32] | None = None
