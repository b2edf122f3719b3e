"""Regions: where they are, when they begin and end, and who is who."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import UsageError
from saliency_edge.runtime.frame import Frame, Region, SaliencyMap
from saliency_edge.runtime.stream.regions import RegionOptions, RegionTracker, draw_regions

MAP_HW = (30, 40)
FRAME_HW = (300, 400)


def spot(row: int, column: int, level: float = 1.0, size: int = 6) -> NDArray[np.float32]:
    values = np.zeros(MAP_HW, np.float32)
    values[row : row + size, column : column + size] = level
    return values


def map_of(*spots: NDArray[np.float32], stream: int = 0, frame_hw: tuple[int, int] = FRAME_HW) -> SaliencyMap:
    frame = Frame(
        index=0, name="0", image_bgr=np.zeros((*frame_hw, 3), np.uint8), captured_s=0.0, stream=stream
    )
    return SaliencyMap(frame=frame, values=np.maximum.reduce([np.zeros(MAP_HW, np.float32), *spots]))


def tracker(**changes: float) -> RegionTracker:
    return RegionTracker(RegionOptions(**changes))  # type: ignore[arg-type]


def identities(regions: tuple[Region, ...]) -> list[int]:
    return [region.identity for region in regions]


def test_a_region_is_where_its_cells_are() -> None:
    (region,) = tracker()(map_of(spot(10, 20, 0.9)))

    assert region == Region(
        identity=1, box_xyxy_px=(200, 100, 260, 160), peak=pytest.approx(0.9), area=36 / 1200
    )


def test_boxes_grow_to_whole_pixels_and_stay_in_the_frame() -> None:
    saliency = map_of(spot(24, 34), spot(0, 0), frame_hw=(101, 133))

    boxes = {region.box_xyxy_px for region in tracker()(saliency)}

    assert boxes == {(113, 80, 133, 101), (0, 0, 20, 21)}


def test_it_begins_high_and_ends_low() -> None:
    track = tracker(on=0.6, off=0.4)
    levels = [0.5, 0.59, 0.61, 0.5, 0.41, 0.39, 0.5, 0.7]

    seen = [identities(track(map_of(spot(10, 10, level)))) for level in levels]

    assert seen == [[], [], [1], [1], [1], [], [], [2]]


def test_it_reaches_as_far_as_the_lower_threshold() -> None:
    values = spot(10, 10, 0.5, size=10) + spot(13, 13, 0.4, size=2)

    (region,) = tracker(on=0.6, off=0.4)(map_of(values))

    assert region.box_xyxy_px == (100, 100, 200, 200)


def test_identities_follow_two_that_move_and_change_rank() -> None:
    track = tracker(on=0.6, off=0.4)
    seen = []
    for step in range(8):
        left = spot(5, 2 + step, 1.0 - 0.05 * step)
        right = spot(20, 30 - step, 0.7 + 0.04 * step)
        regions = track(map_of(left, right))
        seen.append({region.identity: region.box_xyxy_px[0] // 10 for region in regions})

    assert seen == [{1: 2 + step, 2: 30 - step} for step in range(8)]
    assert identities(regions) == [2, 1], "the highest peak is first"


def test_the_one_that_lives_keeps_its_place_among_the_top() -> None:
    track = tracker(top=1)
    track(map_of(spot(5, 5, 0.8)))

    assert identities(track(map_of(spot(5, 5, 0.65), spot(20, 25, 0.9)))) == [1]
    assert identities(track(map_of(spot(20, 25, 0.9)))) == [2]


def test_where_two_grow_together_the_higher_one_goes_on() -> None:
    track = tracker()
    track(map_of(spot(5, 5, 0.8), spot(5, 14, 1.0)))
    merged = spot(5, 5, 0.9) + np.where(spot(5, 14) > 0, 1.0, 0.0).astype(np.float32)
    merged[5:11, 11:14] = 0.8

    assert identities(track(map_of(spot(5, 5, 0.8), spot(5, 14, 1.0)))) == [1, 2]
    assert identities(track(map_of(merged))) == [1]
    assert identities(track(map_of(spot(5, 5, 0.8), spot(5, 14, 1.0)))) == [1, 3], "and apart again"


def test_another_size_of_map_is_another_region() -> None:
    track = tracker()
    track(map_of(spot(5, 5)))
    saliency = map_of(spot(5, 5))
    larger = replace(
        saliency, values=np.ascontiguousarray(np.kron(saliency.values, np.ones((2, 2), np.float32)))
    )

    assert identities(track(larger)) == [2]


def test_a_jump_is_another_region() -> None:
    track = tracker()

    assert identities(track(map_of(spot(2, 2)))) == [1]
    assert identities(track(map_of(spot(20, 30)))) == [2]


def test_what_is_too_small_is_none() -> None:
    track = tracker(smallest_area=0.01)

    assert track(map_of(spot(5, 5, size=3))) == ()
    assert len(track(map_of(spot(5, 5, size=4)))) == 1


def test_streams_count_for_themselves() -> None:
    track = tracker()
    track(map_of(spot(2, 2), stream=0))
    track(map_of(spot(20, 30), stream=0))

    assert identities(track(map_of(spot(20, 30), stream=1))) == [1]
    assert identities(track(map_of(spot(20, 30), stream=0))) == [2]


def test_a_map_without_anything_has_none() -> None:
    assert tracker()(map_of()) == ()


def test_boxes_are_drawn_in_place() -> None:
    picture_bgr = np.zeros((*FRAME_HW, 3), np.uint8)

    draw_regions(picture_bgr, tracker()(map_of(spot(10, 20))))

    rows, columns = np.nonzero(picture_bgr.any(axis=2))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx(
        (200, 100, 259, 159), abs=1
    )
    assert not picture_bgr[140:150, 230:250].any(), "the middle stays clear"


def drawn_labels(
    monkeypatch: pytest.MonkeyPatch, picture_bgr: NDArray[np.uint8], regions: tuple[Region, ...], **more: Any
) -> list[tuple[int, int, int, int]]:
    """Draw regions; give the plates of their labels, right and bottom edge outside."""
    plates = []
    rectangle = cv2.rectangle

    def note(image: Any, corner: Any, opposite: Any, colour: Any, thickness: int) -> None:
        if thickness == cv2.FILLED:
            plates.append((*corner, opposite[0] + 1, opposite[1] + 1))
        rectangle(image, corner, opposite, colour, thickness)

    with monkeypatch.context() as patched:
        patched.setattr(cv2, "rectangle", note)
        draw_regions(picture_bgr, regions, **more)
    return plates


def region_at(box_xyxy_px: tuple[int, int, int, int], identity: int = 1) -> Region:
    return Region(identity=identity, box_xyxy_px=box_xyxy_px, peak=0.9, area=0.01)


@pytest.mark.parametrize("frame_hw", [(360, 640), (720, 1280), (1080, 1920), (240, 320)])
@pytest.mark.parametrize(
    "corner", [(0.0, 0.0), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (1.0, 0.5)]
)
@pytest.mark.parametrize("side_px", [2, 16, 60, 200])
def test_labels_stay_in_the_frame_and_out_of_small_boxes(
    frame_hw: tuple[int, int], corner: tuple[float, float], side_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = frame_hw
    left, top = int(corner[0] * (width - side_px)), int(corner[1] * (height - side_px))
    box = (left, top, left + side_px, top + side_px)
    side_by_side_bgr = np.zeros((height, 2 * width, 3), np.uint8)

    (label,) = drawn_labels(monkeypatch, side_by_side_bgr, (region_at(box),), frame_hw=frame_hw)

    assert 0 <= label[0] < label[2] <= width
    assert 0 <= label[1] < label[3] <= height
    is_inside = box[0] <= label[0] and label[2] <= box[2] and box[1] <= label[1] and label[3] <= box[3]
    is_outside = label[2] <= box[0] or box[2] <= label[0] or label[3] <= box[1] or box[3] <= label[1]
    assert is_inside or is_outside, "no label spills over the edge of its box"
    rows, columns = np.nonzero((side_by_side_bgr > 0).any(axis=2))
    assert columns.max() < max(label[2], box[2]) + height // 360 + 1
    assert len(rows) > 0


def test_labels_of_neighbours_do_not_cover_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [(300, 200, 310, 210), (302, 202, 312, 212), (298, 198, 308, 208)]
    regions = tuple(region_at(box, number) for number, box in enumerate(boxes))

    labels = drawn_labels(monkeypatch, np.zeros((*FRAME_HW, 3), np.uint8), regions)

    assert len(labels) == 3
    for place, (left, top, right, bottom) in enumerate(labels):
        for other in labels[:place]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_picture_too_small_for_words_gets_boxes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    picture_bgr = np.zeros((24, 32, 3), np.uint8)

    assert drawn_labels(monkeypatch, picture_bgr, (region_at((4, 4, 20, 20)),)) == []
    assert picture_bgr.any()


@pytest.mark.parametrize(
    "changes",
    [{"on": 0.3}, {"off": 0.0}, {"on": 1.1}, {"smallest_area": 1.0}, {"smallest_area": -0.1}, {"top": 0}],
)
def test_options_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        tracker(**changes)
