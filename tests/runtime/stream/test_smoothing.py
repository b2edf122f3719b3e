"""The average over time, against the differential equation that it solves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import UsageError
from saliency_edge.runtime.frame import Frame, SaliencyMap
from saliency_edge.runtime.stream.smoothing import Smoother, parse_time_constant
from toy_models import noise

TAU_S = 0.2
IMAGE_BGR = noise((48, 64), 1)


def map_at(
    time_s: float | None,
    level: float,
    *,
    captured_s: float = 0.0,
    stream: int = 0,
    map_hw: tuple[int, int] = (3, 4),
    image_bgr: NDArray[np.uint8] = IMAGE_BGR,
) -> SaliencyMap:
    frame = Frame(
        index=0,
        name="0",
        image_bgr=image_bgr,
        captured_s=captured_s,
        timestamp_s=time_s,
        stream=stream,
    )
    return SaliencyMap(frame=frame, values=np.full(map_hw, level, np.float32), dropped=2)


def level_of(saliency: SaliencyMap) -> float:
    return float(saliency.values.mean())


@pytest.mark.parametrize("fps", [5.0, 30.0, 240.0])
def test_a_step_shows_63_percent_after_the_time_constant_at_any_rate(fps: float) -> None:
    smooth = Smoother(TAU_S)
    smooth(map_at(0.0, 0.0))

    for step in range(1, round(TAU_S * fps) + 1):
        last = smooth(map_at(step / fps, 1.0))

    assert level_of(last) == pytest.approx(1 - math.exp(-1), abs=1e-5)


def test_uneven_times_give_the_same_as_even_ones() -> None:
    smooth = Smoother(TAU_S)
    smooth(map_at(0.0, 0.0))

    levels = {time_s: level_of(smooth(map_at(time_s, 1.0))) for time_s in (0.01, 0.013, 0.2, 0.21, 0.9)}

    expected = {time_s: 1 - math.exp(-time_s / TAU_S) for time_s in levels}
    assert levels == pytest.approx(expected, abs=1e-5)


def test_without_timestamps_it_goes_by_the_capture() -> None:
    smooth = Smoother(TAU_S)
    smooth(map_at(None, 0.0, captured_s=100.0))

    assert level_of(smooth(map_at(None, 1.0, captured_s=100.2))) == pytest.approx(1 - math.exp(-1), abs=1e-5)


def test_streams_do_not_mix() -> None:
    smooth = Smoother(TAU_S)
    smooth(map_at(0.0, 0.0, stream=0))

    assert level_of(smooth(map_at(0.1, 1.0, stream=1))) == 1.0
    assert level_of(smooth(map_at(0.1, 1.0, stream=0))) == pytest.approx(1 - math.exp(-0.5), abs=1e-5)


@pytest.mark.parametrize(
    "after",
    [
        map_at(0.9, 1.0),
        map_at(1.0, 1.0),
        map_at(1.1, 1.0, map_hw=(6, 8)),
        map_at(1.1, 1.0, image_bgr=noise((48, 64), 2)),
        map_at(1.1, 1.0, image_bgr=255 - noise((96, 128), 1)),
    ],
    ids=["clock back", "clock stands", "other size", "cut", "cut to another size"],
)
def test_it_begins_anew(after: SaliencyMap) -> None:
    smooth = Smoother(TAU_S)
    smooth(map_at(1.0, 0.0))

    assert level_of(smooth(after)) == 1.0


def test_a_pan_is_no_cut() -> None:
    wide = noise((48, 128), 3)
    smooth = Smoother(TAU_S)
    smooth(map_at(0.0, 0.0, image_bgr=wide[:, :64]))

    panned = smooth(map_at(0.04, 1.0, image_bgr=np.ascontiguousarray(wide[:, 6:70])))

    assert level_of(panned) == pytest.approx(1 - math.exp(-0.2), abs=1e-5)


def test_the_map_that_came_in_is_left_alone() -> None:
    smooth = Smoother(TAU_S)
    first, second = map_at(0.0, 0.25), map_at(0.1, 1.0)

    smooth(first).values[:] = 9
    result = smooth(second)

    assert level_of(first) == 0.25
    assert level_of(second) == 1.0
    assert result.frame is second.frame
    assert result.dropped == 2
    assert result.values.dtype == np.float32


@pytest.mark.parametrize(("text", "seconds"), [("0.2s", 0.2), ("200ms", 0.2), (".5 s", 0.5), ("3s", 3.0)])
def test_times_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert parse_time_constant(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0.2", "0s", "-1s", "1m", "s", "nan s", "1e3s", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--smooth .*: expected a time above 0, such as 0\.2s"):
        parse_time_constant(text)
