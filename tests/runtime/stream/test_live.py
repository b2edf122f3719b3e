"""A source that comes and goes: each thing that a camera does, and what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import count, pairwise
from pathlib import Path
from threading import Timer

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import InputError
from saliency_edge.runtime.frame import Frame
from saliency_edge.runtime.stream.sources.camera import CameraConnection
from saliency_edge.runtime.stream.sources.live import CaptureClock, LiveSource, StreamClock
from saliency_edge.runtime.stream.sources.source import CapturedFrame, Connection, SourceOptions
from saliency_edge.runtime.telemetry import Counters, EventLog
from toy_models import noise, read_clip, save_clip

pytestmark = pytest.mark.timeout(30)  # what hangs, fails

SIZE_HW = (16, 24)


class Script:
    """One connection: so many pictures, then an error, an end, or nothing more."""

    fps = 10.0

    def __init__(
        self,
        frame_count: int,
        error: str | None = None,
        *,
        size_hw: tuple[int, int] = SIZE_HW,
        frozen: bool = False,
        times_s: Sequence[float] | None = None,
        duration_s: float | None = None,
    ) -> None:
        self._frame_count, self._error, self._size_hw = frame_count, error, size_hw
        self._frozen, self._times_s = frozen, times_s
        self.duration_s = duration_s
        self.is_closed = False

    def frames(self) -> Generator[CapturedFrame, None, None]:
        for number in range(self._frame_count):
            image_bgr = noise(self._size_hw, 0 if self._frozen else next(SEEDS))
            yield CapturedFrame(image_bgr, self._times_s[number] if self._times_s else None)
        if self._error:
            raise InputError(self._error)

    def close(self) -> None:
        self.is_closed = True


SEEDS = count(1)


def play(*connections: Script | str, **options: float) -> tuple[LiveSource, Counters, list[str]]:
    """Make a source of connections; a text is an opening that fails. After the last there is none."""
    counters, lines, queue = Counters(), list[str](), list(connections)

    def connect(_is_stopped: Callable[[], bool]) -> Connection:
        connection = queue.pop(0) if queue else "nobody there"
        if isinstance(connection, str):
            raise InputError(connection)
        return connection

    source = LiveSource("cam", connect, SourceOptions(**options), EventLog(counters, lines.append))
    return source, counters, lines


def frames_of(source: LiveSource) -> list[Frame]:
    with closing(source):
        return list(source.frames())


def test_stream_cut_goes_on_with_the_next_number() -> None:
    first = Script(3, "cam breaks off")
    source, counters, lines = play(first, "refused", "refused", Script(4), max_frames=7)

    frames = frames_of(source)

    assert [frame.index for frame in frames] == list(range(7))
    assert first.is_closed
    assert counters.totals() == {"lost": 1, "restarted": 1}
    assert lines[0] == "stream 0: cam breaks off. It is opened again"
    assert lines[1].startswith("stream 0: cam is back after ")


def test_end_of_a_camera_is_no_end() -> None:
    source, counters, _ = play(Script(2), Script(2), max_frames=4)
    assert len(frames_of(source)) == 4
    assert counters.of("restarted") == 1


def test_end_of_what_has_a_length_is_the_end() -> None:
    source, counters, _ = play(Script(3, duration_s=0.3), Script(3))

    assert (source.is_live, source.fps, source.frame_count) == (False, 10.0, 3)
    assert source.description == "cam, 24x16, 10 fps, 0.3 s"
    assert len(frames_of(source)) == 3
    assert counters.totals() == {}


def test_what_has_a_length_and_breaks_off_is_not_read_again() -> None:
    source, counters, _ = play(Script(3, "cam breaks off", duration_s=9.0), Script(3))
    got: list[Frame] = []

    with closing(source), pytest.raises(InputError, match="cam breaks off"):
        got.extend(source.frames())

    assert len(got) == 3
    assert counters.totals() == {}


def test_frame_of_another_size() -> None:
    source, _, _ = play(Script(2), Script(2, size_hw=(32, 8)), max_frames=4)
    assert [frame.size_hw for frame in frames_of(source)] == [SIZE_HW, SIZE_HW, (32, 8), (32, 8)]


def test_source_that_never_opens() -> None:
    with pytest.raises(InputError, match="refused"):
        play("refused")
    with pytest.raises(InputError, match="cam ended before its first frame"):
        play(Script(0))
    with pytest.raises(InputError, match="cam is 4x4 pixels"):
        play(Script(1, size_hw=(4, 4)))


def test_source_that_stays_away_is_given_up() -> None:
    source, counters, _ = play(Script(2), give_up_s=0.5)
    got: list[Frame] = []

    with closing(source), pytest.raises(InputError, match=r"nobody there\. Given up after 0\.5 s"):
        got.extend(source.frames())

    assert counters.totals() == {"lost": 1}


def test_waits_grow() -> None:
    """A quarter, a half, one second: three openings that fail, in 0.75 s after the first one."""
    source, _, _ = play(Script(1), "refused", "refused", Script(1), max_frames=2)
    start_s = time.monotonic()

    frames_of(source)

    assert 0.25 + 0.5 + 1.0 <= time.monotonic() - start_s < 4.0


def test_stop_while_it_is_away() -> None:
    source, _, _ = play(Script(1), *["refused"] * 50)
    Timer(0.3, source.stop).start()
    start_s = time.monotonic()

    assert len(frames_of(source)) == 1
    assert time.monotonic() - start_s < 2.0


def test_frozen_frames_are_counted_and_said_once() -> None:
    source, counters, lines = play(Script(100, frozen=True), max_frames=100)

    assert len(frames_of(source)) == 100
    assert counters.of("frozen") == 99
    assert lines == ["stream 0: cam gives the same frame again and again"]


def test_clock_that_goes_backwards() -> None:
    times_s = [10.0, 10.1, 3.0, 3.1, 3.1, 3.2]
    source, counters, _ = play(Script(6, times_s=times_s), max_frames=6)

    given_s = [frame.timestamp_s or 0.0 for frame in frames_of(source)]

    assert all(earlier < later for earlier, later in pairwise(given_s)), given_s
    assert counters.of("clock_jumped") == 2
    assert given_s[3] - given_s[2] == pytest.approx(0.1)


def test_clock_that_begins_anew_after_a_restart() -> None:
    source, counters, _ = play(Script(2, times_s=[5.0, 5.1]), Script(2, times_s=[0.0, 0.1]), max_frames=4)

    given_s = [frame.timestamp_s or 0.0 for frame in frames_of(source)]

    assert given_s[2] - given_s[1] == pytest.approx(0.25, abs=0.2), "the wait before the restart"
    assert given_s[3] - given_s[2] == pytest.approx(0.1)
    assert counters.of("clock_jumped") == 0


def test_clocks_of_hand_made_times() -> None:
    clock = StreamClock()
    assert clock.time_of(None, 0.0) is None
    assert [clock.time_of(7.0, 100.0), clock.time_of(8.0, 101.0)] == [7.0, 8.0]
    assert clock.time_of(2.0, 101.5) == 8.5
    assert clock.has_jumped
    assert clock.time_of(3.0, 102.5) == 9.5
    assert not clock.has_jumped


def test_frames_that_wait_in_the_network_are_older() -> None:
    """Frames of ten a second, 50 ms on their way; five of them are held back for half a second."""
    clock = CaptureClock()
    sent_s = [number / 10 for number in range(20)]
    arrived_s = [100.05 + (1.5 if 10 <= number < 15 else number / 10) for number in range(20)]

    captured_s = [clock.captured_s(*times) for times in zip(sent_s, arrived_s, strict=True)]

    assert captured_s == pytest.approx([100.05 + time_s for time_s in sent_s])


def test_clocks_that_drift_apart_make_no_age() -> None:
    """The source's clock is slow by 100 parts in a million: ten minutes make 60 ms, not to be believed."""
    clock = CaptureClock()
    ages_s = [number / 10 - clock.captured_s(number / 10 * (1 - 1e-4), number / 10) for number in range(6000)]
    assert max(ages_s) < 0.01, f"oldest {max(ages_s):.3f} s"


def test_camera_that_disappears_and_returns(tmp_path: Path) -> None:
    """A file stands in for the camera: its capture ends, and can be opened again."""
    clip = save_clip(tmp_path / "clip.mp4", 5)
    expected = read_clip(clip)
    counters = Counters()

    def connect(_is_stopped: Callable[[], bool]) -> CameraConnection:
        return CameraConnection(cv2.VideoCapture(str(clip)), "camera:0")

    source = LiveSource("camera:0", connect, SourceOptions(max_frames=12), EventLog(counters))
    frames = frames_of(source)

    images: list[NDArray[np.uint8]] = [frame.image_bgr for frame in frames]
    assert all(np.array_equal(image, expected[place % 5]) for place, image in enumerate(images))
    assert counters.of("restarted") == 2


def test_camera_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="camera:7 cannot be opened"):
        CameraConnection(cv2.VideoCapture(str(tmp_path / "none")), "camera:7")
