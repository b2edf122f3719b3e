"""`saliency-run` with live sources, from its door: exit codes, and what is whole afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.runtime import cli
from toy_models import read_clip, save_toy, toy_map

pytestmark = pytest.mark.timeout(120)  # what hangs, fails

PROGRAM = (sys.executable, "-m", "saliency_edge.runtime.cli")
LIVE = "test:width=64,height=48,fps=50"
Y4M_HEADER = b"YUV4MPEG2 W64 H48 F10:1 C420jpeg\n"
Y4M_FRAME = b"FRAME\n" + bytes(range(256)) * 18

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def run(*words: str, stdin: bytes | None = None) -> tuple[int, str, str]:
    """Run the command to its end; give its exit code and what it said."""
    done = subprocess.run([*PROGRAM, *words], input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@contextmanager
def running(*words: str, stdin: int | None = None) -> Generator[subprocess.Popen[str], None, None]:
    process = subprocess.Popen(
        [*PROGRAM, *words], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[float, str, str]:
    """Send a signal; give how long the end took, and what was said."""
    start_s = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return time.monotonic() - start_s, out, err


def test_several_sources_of_several_kinds(here: Path) -> None:
    code, out, err = run("toy", "clip.mp4", "images", f"{LIVE},frames=5,pace=fast", "--json", "report.json")

    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("source")] == [
        "source  clip.mp4, 64x48, 10 fps, 12 frames",
        "source  images, 3 images",
        "source  test pattern, 64x48, 50 fps",
    ]
    report = json.loads((here / "report.json").read_text(encoding="utf-8"))
    assert report["frame_count"] == 12 + 3 + 5
    assert [stream["counts"] for stream in report["streams"]] == [
        {"captured": count, "done": count} for count in (12, 3, 5)
    ]


@pytest.mark.usefixtures("here")
def test_maps_of_raw_frames_on_stdin() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 24, 32, 3), np.uint8)

    words = ("toy", "raw:width=32,height=24,fps=5", "--save-maps", "m", "--maps-format", "npy")
    code, _, err = run(*words, stdin=frames.tobytes())

    assert (code, err) == (0, "")
    for number, frame in enumerate(frames):
        np.testing.assert_allclose(np.load(f"m/{number:06d}.npy"), toy_map(frame), atol=1e-6)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("stdin", "frame_count", "message"),
    [
        (Y4M_HEADER + Y4M_FRAME * 3, 3, ""),
        (Y4M_HEADER + Y4M_FRAME * 2 + Y4M_FRAME[:99], 2, "error: stdin breaks off in the middle of a frame"),
        (Y4M_HEADER + Y4M_FRAME * 2 + b"x" * 2000, 2, "error: stdin is no Y4M from frame 2 on"),
        (b"garbage" * 99, 0, "error: stdin is neither Y4M, NUT nor Matroska"),
        (b"", 0, "error: stdin ended before its first frame"),
        (Y4M_HEADER, 0, "error: stdin ended before its first frame"),
    ],
)
def test_stdin_whole_cut_off_and_garbage(stdin: bytes, frame_count: int, message: str) -> None:
    code, _, err = run("toy", "-", "--save-maps", "maps", stdin=stdin)

    assert code == (1 if message else 0)
    assert err.startswith(message)
    assert err.count("\n") == bool(message)
    assert len(list(Path("maps").iterdir())) == frame_count


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("toy clip.mp4 --policy oldest", "--policy oldest: expected newest, all, or deadline=MS"),
        ("toy test:size=4", "'size' is no parameter. Known are width, height, fps"),
        ("toy test:fps=fast", "fps is 'fast', expected a number from 0.1 to 1000"),
        ("toy test:fps=inf", "fps is 'inf', expected a number from 0.1 to 1000"),
        ("toy test:width=100000,height=100000", "height is '100000', expected a number from 1 to 16384"),
        ("toy raw:width=100000,height=100000", "height is '100000', expected a number from 1 to 16384"),
        ("toy test:width=1e300", "width is '1e300', expected a number from 1 to 16384"),
        ("toy test:frames=inf", "frames is 'inf', expected a number from 1 to 1e+09"),
        ("toy test:anything,width=64", "'anything' is no parameter"),
        ("toy csi:left", "csi:left: expected the sensor's number"),
        ("toy camera:99999999999999999999", "expected a number up to 255"),
        ("toy ffmpeg:-i\t'clip.mp4", "ffmpeg: a quotation mark in its text has no second one"),
        ("toy gst:filesrc\tlocation='a", "gst: a quotation mark in its text has no second one"),
        (
            "toy rtsp://u:hunt/er2@camera/x",
            "rtsp://***: found no host and port. In a password, write /",
        ),
        ("toy /dev/zero", "/dev/zero is no regular file"),
        (f"toy {'a' * 5000}", "cannot read a"),
        ("toy a**b", "no image matches a**b"),
        ("toy ", "SOURCE is empty"),
        ("toy test:pace=slow", "pace is 'slow', expected live or fast"),
        ("toy raw:width=64", "raw frames need a size"),
        ("toy gst:", "expected a pipeline"),
        ("toy ffmpeg:clip.mp4", "expected ffmpeg's options with its input"),
        ("toy camera:/dev/none", "camera:/dev/none cannot be opened"),
        ("toy clip.mp4 clip.mp4 --qp-map a.npy", "--qp-map takes one source, found 2"),
        ("toy clip.mp4 --every 2 --qp-map a.npy", "--qp-map needs every frame"),
        ("toy clip.mp4 --compare fp32", "--compare shows a second precision in the web view"),
        ("toy clip.mp4 --json - --jsonl -", "--json - and results on stdout cannot go together"),
    ],
)
def test_what_cannot_be_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    monkeypatch.setattr("sys.argv", ["saliency-run", *words.split(" ")])

    with pytest.raises(SystemExit) as raised:
        cli.main()

    err = capfd.readouterr().err
    cannot_be_read = any(word in err for word in ("cannot read", "no image matches", "cannot be opened"))
    assert raised.value.code == (1 if cannot_be_read else 2)
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_under_load(here: Path, number: signal.Signals, code: int) -> None:
    """Frames come faster than they are computed, and everything that can be written is written."""
    words = ("toy", f"{LIVE},fps=500", "--output", "o.mkv", "--save-maps", "maps", "--jsonl", "o.jsonl")
    with running(*words) as process:
        wait_for(lambda: line_count(here / "o.jsonl") >= 20, process)
        took_s, out, err = end(process, number)

    assert process.returncode == code, err
    assert took_s < 10
    assert f"(stopped: {number.name})" in out
    assert "Traceback" not in err
    lines = [json.loads(line) for line in (here / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) >= 20
    assert len(read_clip(here / "o.mkv")) > 0
    maps = list((here / "maps").iterdir())
    assert maps
    assert all(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (48, 64) for path in maps)


@pytest.mark.usefixtures("here")
def test_signal_while_no_frame_comes() -> None:
    """Stdin stays open and silent."""
    readable, writable = os.pipe()
    with running("toy", "-", stdin=readable) as process:
        time.sleep(2.0)
        took_s, _, err = end(process, signal.SIGTERM)
    os.close(writable)
    os.close(readable)

    assert process.returncode == 143, err
    assert took_s < 5


@needs_ffmpeg
@pytest.mark.usefixtures("here")
def test_signal_while_a_source_is_opened() -> None:
    """A server that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        address = f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam"
        with running("toy", address, "--open-timeout", "60") as process:
            connection = server.accept()[0]
            took_s, _, err = end(process, signal.SIGTERM)
            connection.close()

    assert process.returncode == 143, err
    assert took_s < 10


@needs_ffmpeg
@pytest.mark.usefixtures("here")
def test_reader_of_our_output_has_gone() -> None:
    """`saliency-run ... --jsonl - | head -2`, with a source that would go on for ever."""
    with running("toy", LIVE, "--jsonl", "-") as process:
        assert process.stdout is not None
        assert all(json.loads(process.stdout.readline()) for _ in range(2))
        process.stdout.close()
        process.wait(20)

    assert process.returncode == 0


@needs_ffmpeg
def test_source_given_up_leaves_all_that_was_written(here: Path) -> None:
    """FFmpeg cannot open the clip a second time."""
    shutil.copy("clip.mp4", "gone.mp4")
    source = "ffmpeg:-re -stream_loop -1 -i gone.mp4"
    with running("toy", source, "--give-up", "1", "--jsonl", "o.jsonl") as process:
        wait_for(lambda: line_count(here / "o.jsonl") >= 3, process)
        Path("gone.mp4").unlink()
        kill_children(process.pid)
        _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "Given up after 1 s" in err
    assert line_count(here / "o.jsonl") >= 3
    for line in (here / "o.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line)


def kill_children(pid: int) -> None:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split():
        os.kill(int(child), signal.SIGKILL)


@needs_ffmpeg
def test_child_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    """SIGKILL of saliency-run: ffmpeg finds its pipe closed, and ends."""
    model = save_toy(tmp_path / "toy.onnx")
    lines = tmp_path / "o.jsonl"
    with running(str(model), "ffmpeg:-re -f lavfi -i testsrc=size=64x48", "--jsonl", str(lines)) as process:
        wait_for(lambda: line_count(lines) >= 3, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    until_s = time.monotonic() + 10
    while any(is_running(child) for child in children) and time.monotonic() < until_s:
        time.sleep(0.05)

    assert len(children) == 1
    assert not is_running(children[0])


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
