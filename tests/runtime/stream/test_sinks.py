"""Overlay videos and map files: whole, exact, and refused before any work where they cannot be."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.runtime.errors import OutputError, SaliencyError, UsageError
from saliency_edge.runtime.stream.sinks.maps import MapsFormat, MapSink
from saliency_edge.runtime.stream.sinks.video import VideoSink
from sink_results import VALUES, files_in, result_of
from toy_models import noise, read_clip


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_video_holds_the_pictures(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"overlay{suffix}"
    pictures = [noise((48, 64), seed) for seed in range(7)]

    with closing(VideoSink(path, fps=12.5)) as sink:
        for picture in pictures:
            sink.write(result_of(picture))

    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    found = read_clip(path)
    errors = [np.abs(a.astype(float) - b).mean() for a, b in zip(found, pictures, strict=True)]
    assert max(errors) < 12, f"mean error of each picture, of 255: {errors}"
    assert files_in(tmp_path) == [path.name]


def test_video_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    path.write_bytes(b"the old one")

    sink = VideoSink(path, fps=None)
    sink.write(result_of(noise((48, 64), 0)))
    assert path.read_bytes() == b"the old one"
    sink.close()

    assert len(read_clip(path)) == 1
    assert path.stat().st_mode & 0o777 == 0o644


def test_video_without_pictures_is_no_file(tmp_path: Path) -> None:
    VideoSink(tmp_path / "overlay.mp4", fps=25).close()

    assert files_in(tmp_path) == []


def test_pictures_of_another_size_keep_their_aspect(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    with closing(VideoSink(path, fps=25)) as sink:
        sink.write(result_of(noise((48, 96), 0)))
        sink.write(result_of(np.full((96, 96, 3), 200, np.uint8)))

    square = read_clip(path)[1]
    assert square.shape == (48, 96, 3)
    assert square[:, :20].mean() < 10, "a black bar to the left"
    assert square[:, 28:68].mean() == pytest.approx(200, abs=5)
    assert square[:, 76:].mean() < 10, "a black bar to the right"


def test_npy_maps_are_the_networks(tmp_path: Path) -> None:
    with closing(MapSink(tmp_path / "maps", "npy")) as sink:
        sink.write(result_of(noise((48, 64), 0), "a"))
        sink.write(result_of(noise((48, 64), 0), "b", VALUES / 2))

    assert files_in(tmp_path / "maps") == ["a.npy", "b.npy"]
    saved = np.load(tmp_path / "maps" / "b.npy")
    assert saved.dtype == np.float32
    assert np.array_equal(saved, VALUES / 2)


def test_png16_maps_have_the_frames_size(tmp_path: Path) -> None:
    with closing(MapSink(tmp_path, "png16")) as sink:
        sink.write(result_of(noise((48, 64), 0), "even", np.full((6, 8), 0.25, np.float32)))
        sink.write(result_of(noise((48, 64), 0), "over", np.full((6, 8), 1.5, np.float32)))

    even, over = (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) for name in ("even.png", "over.png"))
    assert even is not None
    assert over is not None
    assert even.dtype == np.uint16
    assert even.shape == (48, 64)
    assert set(even.flat) == {16384}  # 0.25 x 65535, rounded
    assert set(over.flat) == {65535}


def test_unwritable_outputs_are_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    attempts: list[tuple[type[SaliencyError], str, object]] = [
        (OutputError, "cannot write", lambda: VideoSink(file / "overlay.mp4", fps=25)),
        (OutputError, "it is a folder", lambda: VideoSink(folder, fps=25)),
        (
            UsageError,
            r"is no video name\. End it in one of \.mp4",
            lambda: VideoSink(tmp_path / "x.gif", fps=25),
        ),
        (OutputError, "cannot write", lambda: MapSink(file, "npy")),
        (OutputError, "cannot write", lambda: MapSink(file / "maps", "png16")),
    ]
    for kind, message, attempt in attempts:
        assert callable(attempt)
        with pytest.raises(kind, match=message):
            attempt()
    assert files_in(tmp_path) == ["file", "folder.mp4"]


@pytest.mark.parametrize("maps_format", ["png16", "npy"])
def test_map_sink_leaves_no_temporary_files(tmp_path: Path, maps_format: MapsFormat) -> None:
    MapSink(tmp_path / "maps", maps_format).close()

    assert files_in(tmp_path / "maps") == []
