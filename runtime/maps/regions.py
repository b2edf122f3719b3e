"""Where people look, as boxes that keep their identity from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..video.frame import SaliencyMap

_SMALLEST_OVERLAP = 0.2  # intersection over union that still is the same region
_LINE_PX = 2
_TEXT_SCALE = 0.5  # of OpenCV's plain font: capitals 11 pixels high
_TEXT_INSET_XY_PX = (6, 18)
_PALETTE_BGR = ((80, 220, 80), (60, 180, 255), (255, 160, 60), (220, 90, 220), (220, 220, 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOptions:
    """What counts as a region.

    Attributes:
        on: a region begins where a value reaches this, 0 to 1.
        off: it reaches as far, and lives as long, as values are at least this; at most `on`.
        smallest_area: of a region, as a fraction of the frame's.
        top: how many are kept, those with the highest peak; one that lives goes before a new one.
    """

    on: float = 0.6
    off: float = 0.4
    smallest_area: float = 0.002
    top: int = 3

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: one of them cannot be.
        """
        if not 0 < self.off <= self.on <= 1:
            raise UsageError(
                f"regions begin at {self.on} and end at {self.off}; expected 0 < end <= begin <= 1"
            )
        if not 0 <= self.smallest_area < 1:
            raise UsageError(f"smallest region is {self.smallest_area} of the frame, expected 0 to 1")
        if self.top < 1:
            raise UsageError(f"{self.top} regions are wanted, expected 1 or more")


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


@dataclass(frozen=True, slots=True)
class _Blob:
    """A connected part of the map at or above `off`."""

    box_xyxy_px: tuple[int, int, int, int]
    peak: float
    area: float


@dataclass(slots=True)
class _Stream:
    """What is remembered of one source."""

    regions: tuple[Region, ...] = ()
    identities: int = 0


class RegionTracker:
    """Finds the regions of each map and recognises those of the map before it, for each stream apart."""

    def __init__(self, options: RegionOptions) -> None:
        """Start without regions."""
        self._options = options
        self._streams: dict[int, _Stream] = {}

    def __call__(self, saliency: SaliencyMap) -> tuple[Region, ...]:
        """Find the regions of one map; call it once for each map of a stream, in order.

        Returns:
            The regions, the highest peak first.
        """
        stream = self._streams.setdefault(saliency.frame.stream, _Stream())
        options = self._options
        blobs = _blobs_of(saliency, options)
        known = _matched(blobs, stream.regions)
        wanted = [index for index, blob in enumerate(blobs) if index in known or blob.peak >= options.on]
        wanted.sort(key=lambda index: (index not in known, -blobs[index].peak))
        kept = wanted[: options.top]
        regions = [self._region_of(blobs[index], known.get(index), stream) for index in kept]
        stream.regions = tuple(sorted(regions, key=lambda region: (-region.peak, region.identity)))
        return stream.regions

    @staticmethod
    def _region_of(blob: _Blob, identity: int | None, stream: _Stream) -> Region:
        if identity is None:
            stream.identities += 1
            identity = stream.identities
        return Region(identity=identity, box_xyxy_px=blob.box_xyxy_px, peak=blob.peak, area=blob.area)


def draw_regions(picture_bgr: NDArray[np.uint8], regions: tuple[Region, ...]) -> None:
    """Draw the regions' boxes and identities into a picture, in place.

    Args:
        picture_bgr: (H, W, 3), which shows the frame at its own size, from its left upper corner on.
        regions: of that frame.
    """
    for region in regions:
        left, top, right, bottom = region.box_xyxy_px
        colour = _PALETTE_BGR[region.identity % len(_PALETTE_BGR)]
        cv2.rectangle(picture_bgr, (left, top), (right - 1, bottom - 1), colour, _LINE_PX)
        cv2.putText(
            picture_bgr,
            f"{region.identity}  {region.peak:.2f}",
            (left + _TEXT_INSET_XY_PX[0], top + _TEXT_INSET_XY_PX[1]),
            cv2.FONT_HERSHEY_SIMPLEX,
            _TEXT_SCALE,
            colour,
            1,
            cv2.LINE_AA,
        )


def _blobs_of(saliency: SaliencyMap, options: RegionOptions) -> list[_Blob]:
    """Find the connected parts at or above `off` that are large enough; cells touch at edges and corners."""
    values = saliency.values
    mask = (values >= options.off).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    blobs = []
    for label in range(1, count):  # 0 is what lies below
        area = float(statistics[label, cv2.CC_STAT_AREA]) / values.size
        if area >= options.smallest_area:
            peak = float(values[labels == label].max())
            blobs.append(_Blob(_box_of(statistics[label], saliency), peak, area))
    return blobs


def _box_of(cells: NDArray[np.int32], saliency: SaliencyMap) -> tuple[int, int, int, int]:
    """Give the box of some cells in pixels, outwards to whole ones."""
    left, top, columns, rows = (int(value) for value in cells[: cv2.CC_STAT_AREA])
    (height, width), (map_height, map_width) = saliency.frame.size_hw, saliency.values.shape
    return (
        left * width // map_width,
        top * height // map_height,
        -(-(left + columns) * width // map_width),
        -(-(top + rows) * height // map_height),
    )


def _matched(blobs: list[_Blob], regions: tuple[Region, ...]) -> dict[int, int]:
    """Give the identities of the blobs that were regions before, by the blobs' places; best overlap first."""
    overlaps = [
        (_overlap(blob.box_xyxy_px, region.box_xyxy_px), index, region.identity)
        for index, blob in enumerate(blobs)
        for region in regions
    ]
    known: dict[int, int] = {}
    for overlap, index, identity in sorted(overlaps, key=lambda item: -item[0]):
        if overlap >= _SMALLEST_OVERLAP and index not in known and identity not in known.values():
            known[index] = identity
    return known


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Divide two boxes' common area by the area that they cover together."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0, width) * max(0, height)
    return common / (_area(one) + _area(other) - common)


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
