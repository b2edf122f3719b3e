"""Streams of raw frames: read as FFmpeg and GStreamer write them, else refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from byte_pipes import reader_of
from saliency_edge.runtime.errors import InputError
from saliency_edge.runtime.stream.sources.containers import container_frames
from saliency_edge.runtime.stream.sources.raw_frames import (
    PIXEL_FORMATS,
    ByteReader,
    PixelFormat,
    RawFormat,
    raw_frames,
)
from saliency_edge.runtime.stream.sources.source import CapturedFrame

pytestmark = pytest.mark.timeout(60)  # what hangs, fails

FRAMES = 12
SIZES_HW = [(48, 64), (50, 66), (240, 320), (31, 9), (33, 65)]

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed"
)


def frames_in(
    data: bytes, read: Callable[[ByteReader], Generator[CapturedFrame, None, None]] = container_frames
) -> list[CapturedFrame]:
    with reader_of(data) as reader:
        return list(read(reader))


def output_of(*words: str) -> bytes:
    return subprocess.run(words, capture_output=True, check=True).stdout


def ffmpeg(size_hw: tuple[int, int], *words: str) -> bytes:
    source = f"testsrc=size={size_hw[1]}x{size_hw[0]}:rate=25"
    return output_of(
        "ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", str(FRAMES), *words, "-"
    )  # fmt: skip


def expected_frames(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    data = ffmpeg(size_hw, "-pix_fmt", "bgr24", "-f", "rawvideo")
    return np.frombuffer(data, np.uint8).reshape(FRAMES, *size_hw, 3)


@needs_ffmpeg
@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_nut_is_exact(size_hw: tuple[int, int]) -> None:
    frames = frames_in(ffmpeg(size_hw, "-c:v", "rawvideo", "-pix_fmt", "bgr24", "-f", "nut"))

    assert np.array_equal([picture.image_bgr for picture in frames], expected_frames(size_hw))
    assert [picture.timestamp_s for picture in frames] == pytest.approx(np.arange(FRAMES) / 25)


@needs_gstreamer
@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_matroska_of_gstreamer_is_exact(size_hw: tuple[int, int], tmp_path: Path) -> None:
    caps = f"video/x-raw,format=BGR,width={size_hw[1]},height={size_hw[0]},framerate=25/1"
    start = ["gst-launch-1.0", "-q", "videotestsrc", f"num-buffers={FRAMES}", "!", caps, "!"]
    raw = tmp_path / "raw"
    output_of(*start, "filesink", f"location={raw}")
    row_bytes = -(-3 * size_hw[1] // 4) * 4  # GStreamer pads rows to four bytes
    rows = np.frombuffer(raw.read_bytes(), np.uint8).reshape(FRAMES, size_hw[0], row_bytes)
    expected = rows[:, :, : 3 * size_hw[1]].reshape(FRAMES, *size_hw, 3)

    frames = frames_in(output_of(*start, "matroskamux", "streamable=true", "!", "fdsink"))

    assert np.array_equal([picture.image_bgr for picture in frames], expected)
    assert [picture.timestamp_s for picture in frames] == pytest.approx(np.arange(FRAMES) / 25, abs=1e-3)


@needs_ffmpeg
@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("pixels", ["yuv420p", "gray"])
def test_y4m_is_what_opencv_makes_of_its_planes(size_hw: tuple[int, int], pixels: str) -> None:
    words = ("-pix_fmt", pixels, "-threads", "1", "-f", "yuv4mpegpipe", "-strict", "-1")
    frames = frames_in(ffmpeg(size_hw, *words))

    assert [picture.timestamp_s for picture in frames] == pytest.approx(np.arange(FRAMES) / 25)
    greys = [cv2.cvtColor(picture.image_bgr, cv2.COLOR_BGR2GRAY).mean() for picture in frames]
    expected = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).mean() for frame in expected_frames(size_hw)]
    worst = max(abs(got - wanted) for got, wanted in zip(greys, expected, strict=True))
    assert worst < 12, f"worst mean grey level is off by {worst:.1f} of 255"
    assert {picture.image_bgr.shape for picture in frames} == {(*size_hw, 3)}


@pytest.mark.parametrize("pixels", PIXEL_FORMATS)
def test_raw_frames_of_one_colour(pixels: PixelFormat) -> None:
    """Grey 100 in each format; limited range takes 16 to 235 to 0 to 255."""
    layout = RawFormat(size_hw=(6, 10), fps=5.0, pixels=pixels)
    frame = np.full(layout.shape, 100, np.uint8)
    level = 100
    if pixels in ("i420", "nv12", "yuyv"):
        level = round((100 - 16) * 255 / 219)
        if pixels == "yuyv":
            frame[..., 1] = 128
        else:
            frame[6:] = 128

    frames = frames_in(frame.tobytes() * 3, lambda reader: raw_frames(reader, layout))

    assert [picture.timestamp_s for picture in frames] == pytest.approx([0, 0.2, 0.4])
    for picture in frames:
        assert picture.image_bgr.shape == (6, 10, 3)
        assert np.abs(picture.image_bgr.astype(int) - level).max() <= 1


Y4M = b"YUV4MPEG2 W8 H8 F25:1 C420jpeg\n"
FRAME = b"FRAME\n" + bytes(96)


@pytest.mark.parametrize(
    ("data", "message", "frame_count"),
    [
        (b"", "ended before its first frame", 0),
        (b"hello, hello, hello, hello", "neither Y4M, NUT nor Matroska: it begins with b'hello, hel'", 0),
        (Y4M + FRAME * 2 + FRAME[:50], "breaks off in the middle of a frame", 2),
        (Y4M + FRAME * 2 + b"RUBBISH\n" * 20, "no Y4M from frame 2 on", 2),
        (Y4M.replace(b"420jpeg", b"444p10") + FRAME, "expected 8-bit 4:2:0 or mono", 0),
        (Y4M.replace(b"W8", b"W0") + FRAME, "announces frames of 0x8: it is damaged", 0),
        (b"nut/multimedia container\0" + bytes(100), "no NUT from here on", 0),
        (b"\x1a\x45\xdf\xa3\x80" + bytes(50), "no Matroska from here on", 0),
        (b"\x1a\x45\xdf\xa3\x80\x86\x85V_VP8", "holds V_VP8 in Matroska, expected uncompressed BGR", 0),
    ],
)
def test_streams_that_are_none(data: bytes, message: str, frame_count: int) -> None:
    got: list[CapturedFrame] = []
    with reader_of(data) as reader, pytest.raises(InputError, match=message) as raised:
        got.extend(container_frames(reader))
    assert len(got) == frame_count
    assert "\n" not in str(raised.value)


@needs_ffmpeg
@pytest.mark.parametrize("seed", range(8))
def test_damaged_nut_is_an_error_or_fewer_frames(seed: int) -> None:
    """Whatever bytes are wrong, nothing hangs, and no other error comes out."""
    data = bytearray(ffmpeg((48, 64), "-c:v", "rawvideo", "-pix_fmt", "bgr24", "-f", "nut"))
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, 400, 3):  # in the headers
        data[place] = rng.integers(0, 256)

    frames: list[CapturedFrame] = []
    with suppress(InputError):
        frames = frames_in(bytes(data[: rng.integers(100, len(data))]))
    assert len(frames) <= FRAMES


def test_time_out_and_stop() -> None:
    readable, writable = os.pipe()
    waiting = ByteReader(readable, name="pipe", timeout_s=0.2, is_stopped=lambda: False)
    stopped = ByteReader(readable, name="pipe", timeout_s=None, is_stopped=lambda: True)
    try:
        with pytest.raises(InputError, match=r"pipe gave nothing for 0\.2 s"):
            list(container_frames(waiting))
        assert list(container_frames(stopped)) == []
    finally:
        os.close(readable)
        os.close(writable)
