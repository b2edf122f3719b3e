"""QP maps as files, and FFmpeg with libx264 and libx265 encoding by them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import InputError, OutputError, UsageError
from saliency_edge.runtime.frame import Frame, Result, SaliencyMap
from saliency_edge.runtime.stream.sinks.qp_map import (
    QpMapOptions,
    Span,
    filter_graph,
    open_qp_map,
    qp_offsets,
)
from toy_models import read_clip

FRAME_HW = (120, 160)
COUNT = 30
FPS = 10.0
OPTIONS = QpMapOptions(strength=24)


def result_of(index: int, values: NDArray[np.float32], *, stream: int = 0, side: int = 1) -> Result:
    frame_hw = (FRAME_HW[0] * side, FRAME_HW[1] * side)
    image_bgr = np.zeros((*frame_hw, 3), np.uint8)
    frame = Frame(index=index, name=f"{index:06d}", image_bgr=image_bgr, captured_s=0.0, stream=stream)
    return Result(saliency=SaliencyMap(frame=frame, values=values), picture_bgr=image_bgr, age_s=0.0)


def half(is_left: bool) -> NDArray[np.float32]:
    values = np.zeros((8, 10), np.float32)
    values[:, :5] = is_left
    values[:, 5:] = not is_left
    return values


def write_qp_map(path: Path) -> Path:
    """Write a map that looks to the left in the first half of the time, then to the right."""
    sink = open_qp_map(path, fps=FPS, options=OPTIONS)
    for index in range(COUNT):
        sink.write(result_of(index, half(index < COUNT // 2)))
    sink.close()
    return path


def painted(graph: str, span: int, grid: tuple[int, int]) -> NDArray[np.int8]:
    """Paint the rectangles of one span, the first one on top, as FFmpeg does."""
    line = graph.splitlines()[1 + span]
    offsets = np.zeros(grid, np.int8)
    for x, y, width, height, offset in reversed(
        re.findall(r"addroi=(\d+):(\d+):(\d+):(\d+):(-?\d+)/51", line)
    ):
        top, left = int(y) // 16, int(x) // 16
        offsets[top : top + int(height) // 16, left : left + int(width) // 16] = int(offset)
    return offsets


def test_an_array_holds_the_offsets_and_its_description_the_rest(tmp_path: Path) -> None:
    path = write_qp_map(tmp_path / "clip.npy")

    offsets = np.load(path)
    about = json.loads((tmp_path / "clip.json").read_text(encoding="utf-8"))
    expected = [qp_offsets(result_of(0, half(index < 15)).saliency, OPTIONS) for index in range(COUNT)]
    assert np.array_equal(offsets, expected)
    assert offsets.dtype == np.int8
    assert (about["frame_height_px"], about["frame_width_px"], about["block_px"]) == (120, 160, 16)
    assert (about["fps"], about["strength_qp"], about["array"]) == (FPS, 24, "clip.npy")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.json", "clip.npy"]


def test_the_graph_covers_each_block_with_its_offset() -> None:
    offsets = np.random.default_rng(1).integers(-3, 3, (7, 9)).astype(np.int8)

    graph = filter_graph([Span(5, offsets), Span(5, -offsets)], (7 * 16, 9 * 16))

    assert np.array_equal(painted(graph, 0, (7, 9)), offsets)
    assert np.array_equal(painted(graph, 1, (7, 9)), -offsets)


@pytest.mark.parametrize("suffix", [".npy", ".filter"])
def test_without_a_frame_nothing_is_left(suffix: str, tmp_path: Path) -> None:
    open_qp_map(tmp_path / f"clip{suffix}", fps=None, options=OPTIONS).close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".npy", ".filter"])
def test_frames_of_another_size_or_source_are_refused(suffix: str, tmp_path: Path) -> None:
    sink = open_qp_map(tmp_path / f"clip{suffix}", fps=None, options=OPTIONS)
    sink.write(result_of(0, half(True)))

    with pytest.raises(InputError, match="000001 changes it: 160x120 and 320x240"):
        sink.write(result_of(1, half(True), side=2))
    with pytest.raises(InputError, match="takes one source"):
        sink.write(result_of(1, half(True), stream=1))
    sink.close()
    assert (tmp_path / f"clip{suffix}").exists(), "what was written until then is whole"


def test_other_suffixes_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"end it in \.npy, or in \.filter for FFmpeg"):
        open_qp_map(tmp_path / "clip.txt", fps=None, options=OPTIONS)
    with pytest.raises(OutputError):
        open_qp_map(Path("/proc/none/clip.npy"), fps=None, options=OPTIONS)


FULL_DISK = """
import resource, sys
from pathlib import Path
from test_qp_sinks import open_qp_map, OPTIONS, result_of, half
sink = open_qp_map(Path(sys.argv[1]), fps=None, options=OPTIONS)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    for index in range(1000):
        sink.write(result_of(index, half(True)))
finally:
    sink.close()
"""


def test_a_full_disk_is_told_of_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does, in a process of its own."""
    folders = [Path(__file__).parent, Path(__file__).parents[2]]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "clip.npy")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, folders), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"OutputError: cannot write {tmp_path / 'clip.npy'}: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def run_ffmpeg(*arguments: str | Path) -> str:
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg here")
    command = ["ffmpeg", "-hide_banner", "-loglevel", "warning", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unknown encoder" in done.stderr:
        pytest.skip("this ffmpeg was built without the encoder")
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_ffmpeg_spends_its_bits_where_people_look(codec: str, tmp_path: Path) -> None:
    source, encoded = tmp_path / "noise.mkv", tmp_path / "encoded.mkv"
    noise = "testsrc2=size=160x120:rate=10,noise=alls=40:all_seed=1:allf=t"
    run_ffmpeg("-f", "lavfi", "-i", noise, "-frames:v", f"{COUNT}", "-c:v", "ffv1", source)
    graph = write_qp_map(tmp_path / "clip.filter")

    said = run_ffmpeg(
        *("-i", source, "-filter_complex_script", graph, "-map", "[v]"),
        *("-c:v", codec, "-crf", "28", "-x265-params", "log-level=none", encoded),
    )

    originals, copies = read_clip(source), read_clip(encoded)
    assert len(copies) == COUNT
    assert "addroi" not in said, said
    errors = (np.asarray(originals, float) - np.asarray(copies, float)) ** 2
    left, right = errors[..., :64, :].mean(axis=(1, 2, 3)), errors[..., 96:, :].mean(axis=(1, 2, 3))
    gains_db = 10 * np.log10(right / left)
    assert gains_db[:15].min() > 3, f"to the left first: {np.round(gains_db, 1)} dB"
    assert gains_db[15:].max() < -3, f"then to the right: {np.round(gains_db, 1)} dB"
