"""Where people look, as boxes that keep their identity from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..frame import Region, SaliencyMap

_LINES_IN_HEIGHT = 360  # a line is so thin a part of the picture's height, a pixel at least
_TEXT_SCALE_OF_LINE = 0.35  # of OpenCV's plain font, for each pixel of a line
_TEXT_MARGIN_OF_LINE = 3  # around a label's text, for each pixel of a line
_TEXT_BGR = (0, 0, 0)
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

    on: float = 0.7
    off: float = 0.5
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


@dataclass(frozen=True, slots=True)
class _Blob:
    """A connected part of the map at or above `off`; its cells have its label."""

    label: int
    box_xyxy_px: tuple[int, int, int, int]
    peak: float
    area: float


@dataclass(slots=True)
class _Stream:
    """What is remembered of one source: its last regions, and whose each cell was; 0 is no one's."""

    regions: tuple[Region, ...] = ()
    owners: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    identities: int = 0


class RegionTracker:
    """Finds the regions of each map and recognises those of the map before it, for each stream apart.

    A region goes on in the part of the new map that has most of its cells. Where two have grown together, the
    one with the higher peak goes on.
    """

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
        blobs, labels = _blobs_of(saliency, options)
        known = _recognised(blobs, labels, stream)
        wanted = [blob for blob in blobs if blob.label in known or blob.peak >= options.on]
        wanted.sort(key=lambda blob: (blob.label not in known, -blob.peak))
        owned = [(blob, known.get(blob.label) or _new_identity(stream)) for blob in wanted[: options.top]]
        stream.owners = _owners_of(labels, owned)
        regions = [
            Region(identity=identity, box_xyxy_px=blob.box_xyxy_px, peak=blob.peak, area=blob.area)
            for blob, identity in owned
        ]
        stream.regions = tuple(sorted(regions, key=lambda region: (-region.peak, region.identity)))
        return stream.regions


def draw_regions(
    picture_bgr: NDArray[np.uint8], regions: tuple[Region, ...], frame_hw: tuple[int, int] | None = None
) -> None:
    """Draw the regions' boxes, identities and peaks into a picture, in place.

    Args:
        picture_bgr: (H, W, 3), which shows the frame at its own size, from its left upper corner on.
        regions: of that frame.
        frame_hw: size of the frame, where the picture has more beside it; no label leaves the frame.
    """
    height, width = picture_bgr.shape[:2] if frame_hw is None else frame_hw
    line_px = max(1, height // _LINES_IN_HEIGHT)
    labels: list[tuple[int, int, int, int]] = []
    for region in regions:
        left, top, right, bottom = region.box_xyxy_px
        colour = _PALETTE_BGR[region.identity % len(_PALETTE_BGR)]
        cv2.rectangle(picture_bgr, (left, top), (right - 1, bottom - 1), colour, line_px)
    for region in regions:
        text, margin_px = f"{region.identity}  {region.peak:.2f}", _TEXT_MARGIN_OF_LINE * line_px
        font = (cv2.FONT_HERSHEY_SIMPLEX, _TEXT_SCALE_OF_LINE * line_px)
        (text_width, text_height), _ = cv2.getTextSize(text, *font, line_px)
        size_wh = text_width + 2 * margin_px, text_height + 2 * margin_px
        place = _place_label(region.box_xyxy_px, size_wh, (height, width), labels)
        if place is None:
            continue
        labels.append(place)
        left, top, right, bottom = place
        colour = _PALETTE_BGR[region.identity % len(_PALETTE_BGR)]
        cv2.rectangle(picture_bgr, (left, top), (right - 1, bottom - 1), colour, cv2.FILLED)
        origin = (left + margin_px, bottom - margin_px)
        cv2.putText(picture_bgr, text, origin, *font, _TEXT_BGR, line_px, cv2.LINE_AA)


def _place_label(
    box_xyxy_px: tuple[int, int, int, int],
    size_wh: tuple[int, int],
    frame_hw: tuple[int, int],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int, int, int] | None:
    """Find where a box's label lies: inside the box where there is room, else above, below or beside it.

    It never leaves the frame, and covers another label only where no place is free.

    Returns:
        Left, top, right and bottom edge in pixels; None: the frame is smaller than the label.
    """
    left, top, right, bottom = box_xyxy_px
    width, height = size_wh
    largest_x, largest_y = frame_hw[1] - width, frame_hw[0] - height
    across, down = min(left, largest_x), min(top, largest_y)
    corners = [(across, top - height), (across, bottom), (right, down), (left - width, down)]
    corners += [(across, top - 2 * height), (across, bottom + height), (left, top)]
    if width <= right - left and height <= bottom - top:
        corners.insert(0, (left, top))
    places = [
        (x, y, x + width, y + height) for x, y in corners if 0 <= x <= largest_x and 0 <= y <= largest_y
    ]
    free = [
        place
        for place in places
        if not any(
            place[0] < other[2] and other[0] < place[2] and place[1] < other[3] and other[1] < place[3]
            for other in taken
        )
    ]
    return next(iter(free or places), None)


def _blobs_of(saliency: SaliencyMap, options: RegionOptions) -> tuple[list[_Blob], NDArray[np.int32]]:
    """Find the connected parts at or above `off` that are large enough; cells touch at edges and corners.

    Returns:
        The parts, and the label of each cell, (h, w); 0 is what lies below.
    """
    values = saliency.values
    mask = (values >= options.off).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    blobs = []
    for label in range(1, count):
        area = float(statistics[label, cv2.CC_STAT_AREA]) / values.size
        if area >= options.smallest_area:
            left, top, columns, rows = statistics[label, : cv2.CC_STAT_AREA]
            window = slice(top, top + rows), slice(left, left + columns)
            peak = float(values[window][labels[window] == label].max())
            blobs.append(_Blob(label, _box_of(statistics[label], saliency), peak, area))
    return blobs, labels.astype(np.int32, copy=False)


def _box_of(cells: NDArray[np.int32], saliency: SaliencyMap) -> tuple[int, int, int, int]:
    """Box of some cells in pixels, outwards to whole ones."""
    left, top, columns, rows = (int(value) for value in cells[: cv2.CC_STAT_AREA])
    (height, width), (map_height, map_width) = saliency.frame.size_hw, saliency.values.shape
    return (
        left * width // map_width,
        top * height // map_height,
        -(-(left + columns) * width // map_width),
        -(-(top + rows) * height // map_height),
    )


def _recognised(blobs: list[_Blob], labels: NDArray[np.int32], stream: _Stream) -> dict[int, int]:
    """Identities of the parts that were regions before, by label; the highest peak chooses first."""
    known: dict[int, int] = {}
    if stream.owners.shape != labels.shape:
        return known
    for region in stream.regions:
        cells = labels[stream.owners == region.identity]
        shared = np.bincount(cells, minlength=int(labels.max()) + 1)
        free = [(int(shared[blob.label]), blob.peak, blob.label) for blob in blobs if blob.label not in known]
        most, _, label = max(free, default=(0, 0.0, 0))
        if most:
            known[label] = region.identity
    return known


def _new_identity(stream: _Stream) -> int:
    stream.identities += 1
    return stream.identities


def _owners_of(labels: NDArray[np.int32], owned: list[tuple[_Blob, int]]) -> NDArray[np.int32]:
    """Identity of each cell's region, (h, w); 0 where there is none."""
    identities = np.zeros(int(labels.max()) + 1, np.int32)
    for blob, identity in owned:
        identities[blob.label] = identity
    return identities[labels]
