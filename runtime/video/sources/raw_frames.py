"""Uncompressed frames in a stream: raw ones of a known size, and Y4M, which tells its size."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .byte_reader import ByteReader, StreamEndError
from .picture import Picture, check_announced

PixelFormat = Literal["bgr24", "rgb24", "gray", "i420", "nv12", "yuyv"]
PIXEL_FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)

Y4M_MAGIC = b"YUV4MPEG2 "

_LONGEST_HEADER = 1024  # bytes

_TO_BGR: dict[PixelFormat, int] = {
    "rgb24": cv2.COLOR_RGB2BGR,
    "gray": cv2.COLOR_GRAY2BGR,
    "i420": cv2.COLOR_YUV2BGR_I420,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "yuyv": cv2.COLOR_YUV2BGR_YUY2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFormat:
    """How raw frames lie in a stream: rows without padding, `i420` and `nv12` as planes one after another.

    YUV is of limited range, BT.601, as FFmpeg and GStreamer write it by default.

    Attributes:
        size_hw: height and width, in pixels.
        fps: frames per second.
        pixels: the order of colours.
    """

    size_hw: tuple[int, int]
    fps: float
    pixels: PixelFormat = "bgr24"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame as an array of bytes; planes below each other."""
        height, width = self.size_hw
        if self.pixels in ("i420", "nv12"):
            return (height + height % 2) * 3 // 2, width + width % 2
        channels = {"bgr24": 3, "rgb24": 3, "gray": 1, "yuyv": 2}[self.pixels]
        return height, width, channels


def raw_pictures(reader: ByteReader, layout: RawFormat) -> Generator[Picture, None, None]:
    """Read raw frames; the rate gives their times. See `Connection.pictures`."""
    number = 0
    while reader.peek(1):
        frame = np.empty(layout.shape, np.uint8)
        reader.read_into(frame)
        yield Picture(to_bgr(frame, layout), timestamp_s=number / layout.fps)
        number += 1


def y4m_pictures(reader: ByteReader) -> Generator[Picture, None, None]:
    """Read Y4M: 4:2:0 or grey. See `Connection.pictures`."""
    layout = _y4m_format(_read_line(reader), reader.name)
    number = 0
    while reader.peek(1):
        if not _read_line(reader).startswith(b"FRAME"):
            raise InputError(f"{reader.name} is no Y4M from frame {number} on: it holds something else")
        yield Picture(_read_planes(reader, layout), timestamp_s=number / layout.fps)
        number += 1


def to_bgr(frame: NDArray[np.uint8], layout: RawFormat) -> NDArray[np.uint8]:
    """Convert a raw frame, as `layout.shape`, to (H, W, 3) BGR."""
    if layout.pixels == "bgr24":
        return frame
    height, width = layout.size_hw
    return np.asarray(cv2.cvtColor(frame, _TO_BGR[layout.pixels])[:height, :width], np.uint8)


def _read_planes(reader: ByteReader, layout: RawFormat) -> NDArray[np.uint8]:
    """Read one frame of Y4M; its luma plane has the frame's own size, be that odd."""
    height, width = layout.size_hw
    frame = np.empty(layout.shape, np.uint8)
    if layout.pixels == "gray" or (height % 2 == 0 and width % 2 == 0):
        reader.read_into(frame)
        return to_bgr(frame, layout)
    luma = np.empty((height, width), np.uint8)
    reader.read_into(luma)
    even_height = height + height % 2
    frame[:even_height] = np.pad(luma, ((0, height % 2), (0, width % 2)), mode="edge")
    reader.read_into(frame[even_height:])
    return to_bgr(frame, layout)


def _y4m_format(header: bytes, name: str) -> RawFormat:
    fields = {word[:1]: word[1:].decode("ascii", "replace") for word in header.split()[1:]}
    found = re.fullmatch(
        r"(\d+)x(\d+)@(\d+):(\d+)", "{}x{}@{}".format(*(fields.get(k, "") for k in (b"H", b"W", b"F")))
    )
    colours = fields.get(b"C", "420")
    is_known = colours == "mono" or re.fullmatch(r"420(jpeg|mpeg2|paldv)?", colours)
    if found is None or not is_known or int(found[4]) == 0:
        raise InputError(
            f"{name}: cannot read Y4M with the header {header.decode('ascii', 'replace').strip()!r}; "
            "expected 8-bit 4:2:0 or mono, such as ffmpeg -pix_fmt yuv420p gives"
        )
    height, width, numerator, denominator = map(int, found.groups())
    check_announced((height, width), name)
    return RawFormat(
        size_hw=(height, width), fps=numerator / denominator, pixels="gray" if colours == "mono" else "i420"
    )


def _read_line(reader: ByteReader) -> bytes:
    """Take the bytes up to the end of the line."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < _LONGEST_HEADER:
            line += reader.read(1)
    except StreamEndError:
        raise InputError(f"{reader.name} breaks off in the middle of a frame") from None
    return line
