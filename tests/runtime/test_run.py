"""`saliency-run` from its door: what it writes, what it prints, how it fails, how it stops."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.runtime import cli, progress
from saliency_edge.runtime.backends.records import RECORDS_NAME
from toy_models import read_clip, save_toy, toy_map

PROGRAM = (sys.executable, "-m", "saliency_edge.runtime.cli")


@pytest.fixture
def saliency_run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Run the command with its words, and give its exit code."""

    def run(words: str) -> int:
        monkeypatch.setattr("sys.argv", ["saliency-run", *words.split()])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        return int(raised.value.code or 0)

    return run


def test_overlay_and_maps_of_a_clip(here: Path, saliency_run: Callable[[str], int]) -> None:
    code = saliency_run("toy clip.mp4 --output out/overlay.mp4 --save-maps out/maps --maps-format npy")

    assert code == 0
    assert len(read_clip(here / "out" / "overlay.mp4")) == 12
    frames = read_clip(here / "clip.mp4")
    for number, frame in enumerate(frames):
        fitted = np.asarray(cv2.resize(frame, (32, 24), interpolation=cv2.INTER_AREA), np.uint8)
        saved = np.load(here / "out" / "maps" / f"{number:06d}.npy")
        np.testing.assert_allclose(saved, toy_map(fitted), atol=1e-6)
    assert len(list((here / "out" / "maps").iterdir())) == 12


def test_rate_of_the_overlay(here: Path, saliency_run: Callable[[str], int]) -> None:
    assert saliency_run("toy clip.mp4 --output a.mp4 --every 4") == 0
    assert saliency_run("toy images --output b.mp4 --fps 3 --view side-by-side") == 0

    rates = [cv2.VideoCapture(str(here / name)).get(cv2.CAP_PROP_FPS) for name in ("a.mp4", "b.mp4")]
    assert rates == [2.5, 3.0]
    assert [len(read_clip(here / name)) for name in ("a.mp4", "b.mp4")] == [3, 3]
    assert read_clip(here / "b.mp4")[0].shape == (48, 128, 3)


@pytest.mark.usefixtures("here")
def test_report_for_people(saliency_run: Callable[[str], int], capfd: pytest.CaptureFixture[str]) -> None:
    assert saliency_run("toy clip.mp4 --output overlay.mp4") == 0

    out, err = capfd.readouterr()
    assert err == ""
    proof, *lines = [line for line in out.splitlines() if "comparing what runs" not in line]
    chosen = r"O(NNX Runtime|penVINO) \S+ C\w+, fp16( in bf16)?"
    assert re.match(rf"proof   {chosen}: \S+ ms a frame, CC 1\.00000 with PyTorch(, faster than .*)?$", proof)
    assert re.fullmatch(rf"model   toy, 32x24 to 4x3, {chosen}", lines[0])
    assert lines[1] == "source  clip.mp4, 64x48, 10 fps, 12 frames"
    assert re.fullmatch(r"frames  12 in \d+\.\d s, \d+\.\d\d frames/s", lines[3])
    assert lines[5].split() == ["stage", "p50", "ms", "p95", "ms", "p99", "ms"]
    assert [line.split()[0] for line in lines[6:12]] == ["read", "fit", "infer", "render", "write", "age"]
    assert lines[13] == "wrote   overlay.mp4"
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in lines[5:12]}) == 1, "the table's columns are aligned"


@pytest.mark.usefixtures("here")
def test_report_for_programs(saliency_run: Callable[[str], int], capfd: pytest.CaptureFixture[str]) -> None:
    assert saliency_run("toy images --precision fp32 --json out/report.json") == 0
    capfd.readouterr()
    assert saliency_run("toy images --precision fp32 --json -") == 0

    printed = json.loads(capfd.readouterr().out)
    written = json.loads(Path("out/report.json").read_text(encoding="utf-8"))
    for report in (printed, written):
        assert report["frame_count"] == 3
        assert report["contract"]["precision"] == "fp32"
        assert report["stopped_by"] is None
        assert set(report["stages"]) == {"read", "fit", "infer", "age"}
        assert report["rate_fps"] == pytest.approx(3 / report["wall_s"])


USAGE = ("--precision int8", "--output x.gif", "--colormap rainbows")
"""Options that cannot be end with 2, all else with 1."""


def write_text(path: str) -> Callable[[], object]:
    return lambda: Path(path).write_text("hello\n" * 50, encoding="utf-8")


def truncate(path: str) -> Callable[[], object]:
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[:-100])


def save_dot() -> None:
    cv2.imwrite("dot.png", np.zeros((1, 1, 3), np.uint8))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "prepare", "message"),
    [
        ("none clip.mp4", None, "no such model: none"),
        ("toy none.mp4", None, "no such file or folder: none.mp4"),
        ("toy text.mp4", write_text("text.mp4"), "text.mp4 is no video that OpenCV can read"),
        (
            "toy cut.mp4",
            lambda: Path("cut.mp4").write_bytes(Path("clip.mp4").read_bytes()[:900]),
            "is no video",
        ),
        ("toy void", lambda: Path("void").mkdir(), "no images in void"),
        ("toy dot.png", save_dot, "dot.png is 1x1 pixels"),
        ("text.onnx clip.mp4", write_text("text.onnx"), "text.onnx is damaged or no ONNX model"),
        ("toy clip.mp4 --precision fp16", truncate("toy/fp16.onnx"), "toy/fp16.onnx is damaged"),
        ("toy clip.mp4 --precision int8", None, "toy holds fp32, fp16, not int8"),
        ("w.pt clip.mp4", write_text("w.pt"), "w.pt is a pickle"),
        ("toy clip.mp4 --output clip.mp4/x.mp4", None, "cannot write clip.mp4/x.mp4"),
        ("toy clip.mp4 --output x.gif", None, "x.gif is no video name"),
        ("toy clip.mp4 --save-maps clip.mp4", None, "cannot write clip.mp4"),
        ("toy clip.mp4 --json clip.mp4/x.json", None, "cannot write clip.mp4/x.json"),
        ("toy clip.mp4 --output o.mp4 --colormap rainbows", None, "unknown colour map 'rainbows'"),
    ],
)
def test_bad_input_is_one_line(
    saliency_run: Callable[[str], int],
    capfd: pytest.CaptureFixture[str],
    words: str,
    prepare: Callable[[], object] | None,
    message: str,
) -> None:
    if prepare is not None:
        prepare()
    before = sorted(Path().rglob("*"))

    code = saliency_run(words)

    err = capfd.readouterr().err
    assert code == (2 if words.endswith(USAGE) else 1)
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    after = [path for path in sorted(Path().rglob("*")) if path.name != RECORDS_NAME]
    assert after == before, "nothing is left behind"


def test_source_that_breaks_keeps_what_was_done(
    here: Path, saliency_run: Callable[[str], int], capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "images" / "image2.png").write_bytes(b"")

    assert saliency_run("toy images --output overlay.mp4 --save-maps maps") == 1

    assert "image2.png is damaged or no image" in capfd.readouterr().err
    assert len(read_clip(here / "overlay.mp4")) == 2
    assert sorted(path.name for path in (here / "maps").iterdir()) == ["image0.png", "image1.png"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_cleanly_and_the_overlay_plays(
    tmp_path: Path, repository: Path, number: signal.Signals, code: int
) -> None:
    """The shipped clip with 16-bit maps takes seconds; the signal comes after the first maps."""
    model = save_toy(tmp_path / "toy.onnx")
    clip = repository / "calib" / "assets" / "big_buck_bunny.mp4"
    overlay, maps = tmp_path / "overlay.mp4", tmp_path / "maps"
    words: Sequence[str | Path] = (model, clip, "--output", overlay, "--save-maps", maps)
    process = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    wait_for(lambda: maps.is_dir() and len(list(maps.glob("0*.png"))) >= 3, process)
    process.send_signal(number)
    out, err = process.communicate()

    assert process.returncode == code, err
    frame_count = len(read_clip(overlay))
    assert 3 <= frame_count < 132
    assert sorted(path.name for path in maps.iterdir()) == [f"{i:06d}.png" for i in range(frame_count)]
    assert f"frames  {frame_count} in" in out
    assert f"(stopped: {number.name})" in out
    assert err == ""


def test_opencv_and_ffmpeg_are_silent(here: Path) -> None:
    """In a process of its own: FFmpeg's level is set once, before the first video."""
    (here / "text.mp4").write_text("hello\n" * 50, encoding="utf-8")

    done = subprocess.run(
        [*PROGRAM, "toy", "text.mp4", "--output", "o.mp4"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if not line.startswith("proof ")] == []
    assert re.fullmatch(r"error: text\.mp4 is no video .*\n", done.stderr)


def test_progress_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line when ten seconds have passed, then after ten more; the clock is the test's."""
    clock_s = iter([0.0, 0.0, 4.0, 4.0, 10.0, 10.0, 16.0, 16.0, 20.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock_s))

    with progress.progress("frames", 4) as advance:
        for _ in range(4):
            advance()

    assert capsys.readouterr().err.splitlines() == ["frames 2 of 4, 0.2/s", "frames 4 of 4, 0.2/s"]
