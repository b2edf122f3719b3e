"""Recordings of live runs: in the run's time, and playable whatever ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from saliency_edge.runtime.errors import OutputError, UsageError
from saliency_edge.runtime.stream.sinks import video as encoder
from saliency_edge.runtime.stream.sinks.video import RecordingSink, VideoSink
from sink_results import files_in, needs_ffmpeg, probe, result_of
from toy_models import noise, read_clip

pytestmark = pytest.mark.timeout(60)

FPS = 25.0
LOSABLE_FRAMES = {"ffmpeg": 2 * FPS, "opencv": 6 * FPS}  # OpenCV's Matroska has clusters of 5 seconds

RECORD_AND_HANG = """
import sys, time
from pathlib import Path
from sink_results import result_of
from toy_models import noise
from saliency_edge.runtime.stream.sinks import video
from saliency_edge.runtime.stream.sinks.video import RecordingSink
if sys.argv[2] == "opencv":
    video.has_ffmpeg.__globals__["shutil"].which = lambda _name: None
sink = RecordingSink(Path(sys.argv[1]), fps=25)
pictures = [noise((120, 160), seed) for seed in range(20)]
for i in range(250):
    sink.write(result_of(pictures[i % 20], captured_s=i / 25))
time.sleep(0.5)
print("written", flush=True)
time.sleep(60)
"""


def record(path: Path, times_s: list[float], fps: float | None = FPS) -> None:
    with closing(RecordingSink(path, fps=fps)) as sink:
        for number, time_s in enumerate(times_s):
            sink.write(result_of(noise((48, 64), number), captured_s=100 + time_s))


def kill_with_children(process: subprocess.Popen[str]) -> None:
    """Kill as a power cut would: the encoder's process at the same moment."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for number in [process.pid, *map(int, children)]:
        os.kill(number, signal.SIGKILL)
    process.wait()


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "by"),
    [(".mp4", "ffmpeg"), (".mov", "ffmpeg"), (".mkv", "ffmpeg"), (".avi", "ffmpeg"), (".mkv", "opencv")],
)
def test_recording_is_playable_after_kill_9(tmp_path: Path, suffix: str, by: str) -> None:
    path = tmp_path / f"run{suffix}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", RECORD_AND_HANG, str(path), by]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        kill_with_children(process)

    count, _ = probe(path)
    assert 250 - LOSABLE_FRAMES[by] <= count <= 250
    assert files_in(tmp_path) == [path.name]


@needs_ffmpeg
def test_recording_whose_writer_alone_is_killed_is_whole(tmp_path: Path) -> None:
    """The encoder's process sees its input end, and finishes the file by itself."""
    path = tmp_path / "run.mp4"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", RECORD_AND_HANG, str(path), "ffmpeg"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    deadline_s = time.monotonic() + 10
    while probe(path)[0] < 250 and time.monotonic() < deadline_s:
        time.sleep(0.1)

    assert probe(path) == (250, pytest.approx(10.0, abs=0.05))


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("rate_fps", [5, 25, 60])
def test_recording_lasts_as_long_as_the_run(tmp_path: Path, suffix: str, rate_fps: int) -> None:
    path = tmp_path / f"run{suffix}"
    record(path, [number / rate_fps for number in range(3 * rate_fps)])

    count, lasts_s = probe(path)
    assert count == pytest.approx(3 * FPS, abs=FPS / rate_fps + 1)
    assert lasts_s == pytest.approx(3.0, abs=1 / rate_fps + 0.05)


@needs_ffmpeg
def test_long_gap_is_cut_to_five_seconds(tmp_path: Path) -> None:
    record(tmp_path / "run.mp4", [0.0, 0.04, 3600.0, 3600.04])

    assert probe(tmp_path / "run.mp4")[1] == pytest.approx(5.12, abs=0.1)


@needs_ffmpeg
def test_pictures_of_a_recording_are_those_shown(tmp_path: Path) -> None:
    path = tmp_path / "run.mp4"
    record(path, [number / FPS for number in range(10)])

    found = read_clip(path)
    errors = [np.abs(a.astype(float) - noise((48, 64), i)).mean() for i, a in enumerate(found)]
    assert len(found) == 10
    assert max(errors) < 12, f"mean error of each picture, of 255: {errors}"


@needs_ffmpeg
def test_odd_sizes_are_cut_to_even_ones(tmp_path: Path) -> None:
    with closing(RecordingSink(tmp_path / "run.mp4", fps=FPS)) as sink:
        sink.write(result_of(noise((49, 65), 0)))

    assert read_clip(tmp_path / "run.mp4")[0].shape == (48, 64, 3)


@needs_ffmpeg
def test_old_recording_stays_until_the_new_one_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "run.mp4"
    path.write_bytes(b"the old one")
    sink = RecordingSink(path, fps=FPS)
    for number in range(10):
        sink.write(result_of(noise((48, 64), number), captured_s=number / FPS))
    assert path.read_bytes() == b"the old one"

    for number in range(10, 200):
        time.sleep(0.005)
        sink.write(result_of(noise((48, 64), number), captured_s=number / FPS))
    assert len(read_clip(path)) > 10, "it has its name while it is being written"
    assert files_in(tmp_path) == ["run.mp4"]
    sink.close()
    assert probe(path)[0] == 200


def test_recording_without_pictures_is_no_file(tmp_path: Path) -> None:
    RecordingSink(tmp_path / "run.mkv", fps=25).close()

    assert files_in(tmp_path) == []


def test_mp4_of_a_live_run_needs_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder.shutil, "which", lambda _name: None)

    with pytest.raises(UsageError, match=r"run\.mp4: .* needs ffmpeg, .* End the name in \.mkv"):
        RecordingSink(tmp_path / "run.mp4", fps=25)
    assert files_in(tmp_path) == []


FILL_THE_DISK = """
import resource, sys
from contextlib import closing
from pathlib import Path
from sink_results import result_of
from toy_models import noise
from saliency_edge.runtime.errors import OutputError
from saliency_edge.runtime.stream.sinks.video import RecordingSink, VideoSink
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
kind = {"live": RecordingSink, "file": VideoSink}[sys.argv[2]]
try:
    with closing(kind(Path(sys.argv[1]), fps=25)) as sink:
        for i in range(400):
            sink.write(result_of(noise((240, 320), i), captured_s=i / 25))
except OutputError as error:
    print(f"error: {error}")
"""


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["live", "file"])
def test_file_that_may_not_grow(tmp_path: Path, kind: str) -> None:
    """As on a full disk: one error, and under the name is nothing, or what can be played."""
    path = tmp_path / "run.mp4"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", FILL_THE_DISK, str(path), kind]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)

    assert done.stdout.startswith("error: ")
    assert done.stdout.count("\n") == 1
    if kind == "live":
        assert probe(path)[0] > 25
    else:
        assert files_in(tmp_path) == []


def test_full_disk_is_seen_while_a_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = encoder.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(encoder.shutil, "disk_usage", lambda _path: usage)
    sink = VideoSink(tmp_path / "run.mp4", fps=FPS)

    for number in range(24):
        sink.write(result_of(noise((48, 64), number)))
    with pytest.raises(OutputError, match="no space left on"):
        sink.write(result_of(noise((48, 64), 24)))
    sink.close()
