"""Sources behind programs: ffmpeg, gst-launch-1.0, and an RTSP server that goes and comes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from saliency_edge.runtime.contract import Contract
from saliency_edge.runtime.errors import BackendError, InputError
from saliency_edge.runtime.frame import Frame
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.stream.sources.programs import csi_command, gst_command, network_command
from saliency_edge.runtime.stream.sources.source import Source, SourceOptions
from saliency_edge.runtime.telemetry import Counters, EventLog
from toy_models import read_clip, save_clip, toy_contract

pytestmark = pytest.mark.timeout(90)  # what hangs, fails

SYSTEM_PYTHON = "/usr/bin/python3"
FFMPEG_LIVE = "ffmpeg:-re -f lavfi -i testsrc=size=64x48:rate=25"
GST_LIVE = "gst:videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=25/1"

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed"
)


@pytest.fixture(autouse=True)
def _nothing_left() -> Generator[None, None, None]:
    """No thread, no descriptor and no child stays behind."""
    before = held()
    yield
    assert held() == before


def held() -> tuple[int, int, list[str]]:
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return threading.active_count(), descriptors, children()


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@contextmanager
def opened(text: str, **options: float) -> Generator[tuple[Source, Counters, list[str]], None, None]:
    counters, lines = Counters(), list[str]()
    with closing(open_source(text, SourceOptions(**options), EventLog(counters, lines.append))) as source:
        yield source, counters, lines


def frames_of(text: str, **options: float) -> list[Frame]:
    with opened(text, **options) as (source, _, _):
        return list(source.frames())


@needs_ffmpeg
def test_ffmpeg_gives_a_clip_frame_by_frame(tmp_path: Path) -> None:
    """Through the pipe come the frames that OpenCV reads from the file, but for the decoders' rounding."""
    clip = save_clip(tmp_path / "clip one.mp4", 12)
    expected = read_clip(clip)

    frames = frames_of(f"ffmpeg:-i '{clip}'")

    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.timestamp_s for frame in frames] == pytest.approx(np.arange(12) / 10)
    pairs = zip(frames, expected, strict=True)
    worst = max(np.abs(frame.image_bgr.astype(int) - image).mean() for frame, image in pairs)
    assert worst < 3, f"worst mean difference {worst:.2f} of 255"


@needs_ffmpeg
def test_every_and_max_frames(tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip.mp4", 12)
    frames = frames_of(f"ffmpeg:-i {clip}", every=5, max_frames=2)
    assert [frame.index for frame in frames] == [0, 5]


@needs_gstreamer
def test_gstreamer_pipeline_that_ends() -> None:
    frames = frames_of("gst:videotestsrc num-buffers=9 ! video/x-raw,width=66,height=50,framerate=25/1")
    assert [frame.timestamp_s for frame in frames] == pytest.approx(np.arange(9) / 25, abs=1e-3)
    assert {frame.size_hw for frame in frames} == {(50, 66)}


@needs_ffmpeg
def test_no_frame_is_held_back() -> None:
    """A frame that FFmpeg gets from its own input comes at once, not when the next one pushes it out."""
    with opened(FFMPEG_LIVE, max_frames=30) as (source, _, _):
        delays_s = [
            (frame.captured_s - frame.timestamp_s)
            for frame in source.frames()
            if frame.timestamp_s is not None
        ]
    spread_s = max(delays_s[10:]) - min(delays_s[10:])
    assert spread_s < 0.2, f"spread {spread_s:.3f} s"


@pytest.mark.parametrize(
    "text", [pytest.param(FFMPEG_LIVE, marks=needs_ffmpeg), pytest.param(GST_LIVE, marks=needs_gstreamer)]
)
def test_program_that_is_killed_is_started_again(text: str) -> None:
    with opened(text, max_frames=20) as (source, counters, lines):
        frames = []
        for frame in source.frames():
            frames.append(frame)
            if frame.index == 9:
                os.kill(int(children()[-1]), signal.SIGKILL)

    assert [frame.index for frame in frames] == list(range(20))
    assert all((one.timestamp_s or 0) < (two.timestamp_s or 0) for one, two in pairwise(frames))
    assert counters.totals()["restarted"] == 1
    assert len(lines) == 2


@needs_ffmpeg
def test_program_that_is_stuck_is_started_again() -> None:
    """SIGSTOP: it lives, and gives nothing."""
    with opened(FFMPEG_LIVE, max_frames=20, read_timeout_s=0.5) as (source, counters, lines):
        for frame in source.frames():
            if frame.index == 9:
                os.kill(int(children()[-1]), signal.SIGSTOP)

    assert counters.totals()["restarted"] == 1
    assert "gave nothing for 0.5 s" in lines[0]


@needs_ffmpeg
def test_stop_ends_a_source_that_waits() -> None:
    with opened(FFMPEG_LIVE.replace("rate=25", "rate=1/30"), read_timeout_s=60) as (source, _, _):
        threading.Timer(0.5, source.stop).start()
        start_s = time.monotonic()
        assert len(list(source.frames())) == 1
        assert time.monotonic() - start_s < 2


@needs_ffmpeg
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ffmpeg:-i none.mp4", r"ended before its first frame\. It said: .*No such file"),
        ("rtsp://user:secret@127.0.0.1:1/cam", r"rtsp://127.0.0.1:1/cam .*Connection refused"),
    ],
)
def test_program_that_never_gives_a_frame(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        frames_of(text)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@needs_gstreamer
def test_gstreamer_that_never_gives_a_frame() -> None:
    with pytest.raises(InputError, match="no element"):
        frames_of("gst:nosuchelement")


def test_address_that_never_answers() -> None:
    """A server that takes the connection and says nothing."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        start_s = time.monotonic()
        with pytest.raises(InputError, match="gave nothing for 1 s"):
            frames_of(f"rtsp://127.0.0.1:{port}/cam", open_timeout_s=1.0)
        assert time.monotonic() - start_s < 6


def test_program_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        BackendError, match=r"ffmpeg is not installed, which this source needs\. Add it: apt-get"
    ):
        frames_of("ffmpeg:-i clip.mp4")


@pytest.fixture
def rtsp_server(
    repository: Path,
) -> Generator[tuple[str, Callable[[], None], Callable[[], None]], None, None]:
    """An address, and what starts and stops the server behind it."""
    script = repository / "tests" / "rtsp_server.py"
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    processes: list[subprocess.Popen[str]] = []

    def start() -> None:
        words = (SYSTEM_PYTHON, str(script), str(port))
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            pytest.skip(
                "no GstRtspServer for the system's Python: apt-get install gir1.2-gst-rtsp-server-1.0"
            )

    def stop() -> None:
        process = processes.pop()
        process.kill()
        process.communicate()

    yield f"rtsp://127.0.0.1:{port}/cam", start, stop
    while processes:
        stop()


@needs_ffmpeg
def test_rtsp_server_that_goes_and_comes(
    rtsp_server: tuple[str, Callable[[], None], Callable[[], None]],
) -> None:
    address, start, stop = rtsp_server
    start()
    with opened(address, max_frames=40, read_timeout_s=3.0) as (source, counters, lines):
        frames = []
        for frame in source.frames():
            frames.append(frame)
            if frame.index == 19:
                stop()
                threading.Timer(1.0, start).start()

    assert source.description == f"{address}, 160x120, live"
    assert [frame.index for frame in frames] == list(range(40))
    assert all((one.timestamp_s or 0) < (two.timestamp_s or 0) for one, two in pairwise(frames))
    assert counters.totals()["restarted"] == 1
    assert counters.totals()["lost"] == 1
    assert len(lines) == 2
    away_s = frames[-1].captured_s - frames[0].captured_s - 38 / 25
    assert 0.5 < away_s < 15, f"away for {away_s:.1f} s"


def csi_words(contract: Contract | None) -> str:
    return " ".join(csi_command("csi:1,fps=60", contract)(7))


def test_csi_camera_scales_in_hardware_where_nobody_looks() -> None:
    """The words for a Jetson, which is not here; `pad` keeps the sensor's aspect, 16:9."""
    start = (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=60000/1000"
    )
    assert start in csi_words(None)
    assert "format=BGRx,width=1920,height=1080" in csi_words(None)
    assert "format=BGRx,width=320,height=240" in csi_words(toy_contract((240, 320)))
    assert "format=BGRx,width=320,height=180" in csi_words(toy_contract((240, 320), fit="pad"))


@needs_gstreamer
def test_csi_pipeline_runs_with_a_stand_in_for_the_sensor() -> None:
    """All but the two elements that only a Jetson has."""
    words = " ".join(csi_command("csi:0,width=128,height=96", toy_contract((24, 32)))(7))
    pipeline = words.partition("-q ")[2].partition(" ! videoconvert")[0]
    for element, stand_in in (
        ("nvarguscamerasrc sensor-id=0", "videotestsrc num-buffers=5"),
        ("(memory:NVMM)", ""),
        ("nvvidconv", "videoconvert ! videoscale"),
    ):
        pipeline = pipeline.replace(element, stand_in)

    frames = frames_of(f"gst:{pipeline}")

    assert [frame.size_hw for frame in frames] == [(24, 32)] * 5


def test_words_of_other_programs() -> None:
    assert network_command("RTSP://h/a b")(5)[4:] == [
        "-loglevel", "level+info", "-threads", "1", "-flags", "low_delay", "-rtsp_transport", "tcp",
        "-i", "rtsp://h/a b", "-map", "0:v:0", "-c:v", "rawvideo", "-pix_fmt", "bgr24", "-threads", "1",
        "-f", "nut", "-flush_packets", "1", "pipe:5",
    ]  # fmt: skip
    assert gst_command("a name='b c' ! d")(5)[:6] == ["gst-launch-1.0", "-q", "a", "name=b c", "!", "d"]
