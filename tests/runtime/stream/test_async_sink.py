"""Sinks in threads of their own, opening them, and the window."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import OutputError, UsageError
from saliency_edge.runtime.frame import Result
from saliency_edge.runtime.stream.run_options import RunOptions
from saliency_edge.runtime.stream.sinks import async_sink
from saliency_edge.runtime.stream.sinks.async_sink import AsyncSink
from saliency_edge.runtime.stream.sinks.open_sinks import SinkOptions, open_sinks
from saliency_edge.runtime.stream.sinks.sink import NullSink, SinkClosedError
from saliency_edge.runtime.stream.sinks.window import WindowSink
from sink_results import files_in, result_of
from toy_models import noise, read_clip

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Generator[None, None, None]:
    before = threading.active_count()
    yield
    deadline_s = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert threading.active_count() == before


class Gate:
    """A sink that waits at a gate, and fails where it is told to."""

    description = "gate"
    shows_pictures = True

    def __init__(self, fail_at: int | None = None, is_open: bool = True) -> None:
        self.gate, self._fail_at = Event(), fail_at
        if is_open:
            self.gate.set()
        self.pictures: list[NDArray[np.uint8]] = []
        self.is_closed = False

    def write(self, result: Result) -> None:
        self.gate.wait()
        if len(self.pictures) == self._fail_at:
            raise OutputError(f"result {self._fail_at} cannot be written")
        self.pictures.append(result.picture_bgr)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("live", [False, True])
def test_all_pictures_arrive_in_order_though_the_renderers_buffer_is_one(live: bool) -> None:
    gate, buffer = Gate(), np.empty((48, 64, 3), np.uint8)
    with closing(AsyncSink(gate, is_live=live)) as sink:
        for number in range(20):
            buffer[:] = number
            sink.write(result_of(buffer))
            while live and len(gate.pictures) <= number:
                time.sleep(0.001)

    assert [picture[0, 0, 0] for picture in gate.pictures] == list(range(20))
    assert gate.is_closed
    assert sink.description == "gate"


def test_blocked_sink_of_a_live_run_costs_results_but_no_time() -> None:
    gate = Gate(is_open=False)
    sink = AsyncSink(gate, is_live=True)
    start_s = time.monotonic()
    for number in range(50):
        sink.write(result_of(noise((48, 64), number)))
    assert time.monotonic() - start_s < 1.0

    gate.gate.set()
    sink.close()
    assert len(gate.pictures) + sink.left_out == 50
    assert sink.left_out >= 45
    assert sink.description == f"gate ({sink.left_out} results left out: it was too slow for them)"


def test_blocked_sink_of_a_file_holds_the_run_up_until_it_is_stopped() -> None:
    gate, stopped = Gate(is_open=False), Event()
    sink = AsyncSink(gate, is_live=False, is_stopped=stopped.is_set)
    threading.Timer(0.3, stopped.set).start()
    start_s = time.monotonic()
    for number in range(6):  # one in its hands, four in the queue, one that waits
        sink.write(result_of(noise((48, 64), number)))
    assert 0.2 < time.monotonic() - start_s < 5

    gate.gate.set()
    sink.close()
    assert len(gate.pictures) == 5


def test_sink_that_is_stuck_at_the_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_sink, "_TIMEOUT_S", 0.3)
    gate = Gate(is_open=False)
    sink = AsyncSink(gate, is_live=True)
    sink.write(result_of(noise((48, 64), 0)))

    with pytest.raises(OutputError, match="gate has taken nothing for 0 s: given up"):
        sink.close()
    gate.gate.set()


def test_sink_that_is_stuck_does_not_hold_up_a_run_that_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_sink, "_TIMEOUT_WHEN_STOPPED_S", 0.2)
    gate = Gate(is_open=False)
    sink = AsyncSink(gate, is_live=True, is_stopped=lambda: True)
    sink.write(result_of(noise((48, 64), 0)))
    start_s = time.monotonic()
    sink.close()
    assert time.monotonic() - start_s < 2
    gate.gate.set()


@pytest.mark.parametrize("at", [0, 3])
def test_failure_comes_out_once_and_the_sink_is_closed(at: int) -> None:
    gate = Gate(fail_at=at)
    sink = AsyncSink(gate, is_live=False)
    with pytest.raises(OutputError, match=f"result {at} cannot be written"):
        write_until_it_fails(sink)
    sink.close()

    assert len(gate.pictures) == at
    assert gate.is_closed


def write_until_it_fails(sink: AsyncSink) -> None:
    for number in range(100):
        sink.write(result_of(noise((48, 64), number)))
        time.sleep(0.01)


def test_opens_what_is_asked_for(tmp_path: Path) -> None:
    options = SinkOptions(
        output=tmp_path / "run.mkv", save_maps=tmp_path / "maps", jsonl=tmp_path / "run.jsonl"
    )
    with ExitStack() as stack:
        sinks = open_sinks(stack, options, stream_count=2)
        for number in range(6):
            for sink in sinks:
                sink.write(result_of(noise((48, 64), number), str(number), stream=number % 2))

    assert files_in(tmp_path) == ["maps", "run-0.mkv", "run-1.mkv", "run.jsonl"]
    assert files_in(tmp_path / "maps" / "1") == ["1.png", "3.png", "5.png"]
    assert len(read_clip(tmp_path / "run-0.mkv")) == 3
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 6


def test_sink_that_cannot_be_opened_comes_after_those_that_can(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    options = SinkOptions(jsonl=tmp_path / "file" / "run.jsonl", save_maps=tmp_path / "maps")
    before = threading.active_count()

    with ExitStack() as stack:
        with pytest.raises(OutputError, match="cannot write"):
            open_sinks(stack, options)
        assert (tmp_path / "maps").is_dir()
        assert threading.active_count() == before + 1, "the sink of the maps runs"
    assert threading.active_count() == before, "and is closed with the stack"


def test_standard_output_takes_one_thing() -> None:
    with pytest.raises(UsageError, match="cannot both go to standard output"):
        SinkOptions(raw="y4m", jsonl=Path("-"))
    with pytest.raises(UsageError, match="raw frames are of one source, found 2"):
        RunOptions(model=Path("toy.onnx"), sources=["a.mp4", "b.mp4"], sinks=SinkOptions(raw="y4m"))
    assert SinkOptions(raw="y4m").uses_stdout
    assert SinkOptions(jsonl=Path("-")).uses_stdout
    assert not SinkOptions(jsonl=Path("run.jsonl")).uses_stdout


def test_null_sink_wants_pictures() -> None:
    with closing(NullSink()) as sink:
        sink.write(result_of(noise((48, 64), 0)))
    assert sink.shows_pictures


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has no screen without a variable")
def test_window_without_a_screen_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    with pytest.raises(OutputError, match=r"no screen: .* Use --web 8080"):
        WindowSink("run")


def test_window_of_a_headless_opencv_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(OutputError, match=r"headless build\. Use --web 8080"):
        WindowSink("run")


@pytest.mark.parametrize(("key", "visible"), [(ord("q"), 1.0), (27, 1.0), (-1, 0.0)])
def test_closed_window_ends_the_run(monkeypatch: pytest.MonkeyPatch, key: int, visible: float) -> None:
    shown: list[object] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda *arguments: shown.append(arguments))
    monkeypatch.setattr(cv2, "waitKey", lambda _: key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: visible)
    monkeypatch.setattr(cv2, "destroyWindow", lambda _: None)
    with closing(WindowSink("run")) as sink, pytest.raises(SinkClosedError, match="the window was closed"):
        sink.write(result_of(noise((48, 64), 0)))
    assert len(shown) == 1
