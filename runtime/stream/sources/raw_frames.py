"""Bytes from a pipe, and uncompressed frames in them: raw ones of a known size, and Y4M."""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .source import CapturedFrame, check_announced

_SECONDS_BETWEEN_LOOKS = 0.1  # at a stop request, while nothing comes
_CHUNK_BYTES = 4096  # read ahead for the small fields between frames


class StreamEndError(Exception):
    """The stream is over, between two frames, or the run stops."""


class ByteReader:
    """Reads a descriptor that someone else opens and closes."""

    def __init__(
        self, descriptor: int, *, name: str, timeout_s: float | None, is_stopped: Callable[[], bool]
    ) -> None:
        """Take a descriptor; nothing is read yet.

        Args:
            descriptor: of a pipe, a file or a terminal.
            name: of the stream, for errors.
            timeout_s: the longest wait for the next bytes; `None`: for ever.
            is_stopped: asked ten times a second while nothing comes.
        """
        self.timeout_s = timeout_s
        self.name = name
        self._descriptor, self._is_stopped = descriptor, is_stopped
        self._ahead = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def peek(self, count: int) -> bytes:
        """Look at the next bytes without taking them; fewer where the stream ends."""
        while len(self._ahead) < count:
            chunk = self._receive(_CHUNK_BYTES)
            if not chunk:
                break
            self._ahead += chunk
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """Take so many bytes.

        Raises:
            StreamEndError: there are none.
            InputError: there are fewer, or they do not come in time.
        """
        found = self.peek(count)
        if len(found) < count:
            self._raise_end(bool(found))
        self._ahead = self._ahead[count:]
        return found

    def read_into(self, pixels: NDArray[np.uint8]) -> None:
        """Fill a contiguous array, in the middle of a frame.

        Raises:
            StreamEndError: the run stops.
            InputError: the stream ends before, or does not go on in time.
        """
        view = pixels.data.cast("B")
        filled = min(len(view), len(self._ahead))
        view[:filled] = self._ahead[:filled]
        self._ahead = self._ahead[filled:]
        while filled < len(view):
            self._wait()
            count = os.readv(self._descriptor, [view[filled:]])
            if count == 0:
                self._raise_end(True)
            filled += count

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        while count > 0:
            count -= len(self.read(min(count, _CHUNK_BYTES)))

    def _receive(self, limit: int) -> bytes:
        self._wait()
        return os.read(self._descriptor, limit)

    def _wait(self) -> None:
        waited_s = 0.0
        while not self._poll.poll(_SECONDS_BETWEEN_LOOKS * 1e3):
            waited_s += _SECONDS_BETWEEN_LOOKS
            if self._is_stopped():
                raise StreamEndError
            if self.timeout_s is not None and waited_s >= self.timeout_s:
                raise InputError(f"{self.name} gave nothing for {self.timeout_s:g} s")

    def _raise_end(self, is_within: bool) -> None:
        if is_within:
            raise InputError(f"{self.name} breaks off in the middle of a frame")
        raise StreamEndError


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


def raw_frames(reader: ByteReader, layout: RawFormat) -> Generator[CapturedFrame, None, None]:
    """Read raw frames; the rate gives their times. See `Connection.frames`."""
    number = 0
    while reader.peek(1):
        frame = np.empty(layout.shape, np.uint8)
        reader.read_into(frame)
        yield CapturedFrame(to_bgr(frame, layout), timestamp_s=number / layout.fps)
        number += 1


def y4m_frames(reader: ByteReader) -> Generator[CapturedFrame, None, None]:
    """Read Y4M: 4:2:0 or grey. See `Connection.frames`."""
    layout = _y4m_format(_read_line(reader), reader.name)
    number = 0
    while reader.peek(1):
        if not _read_line(reader).startswith(b"FRAME"):
            raise InputError(f"{reader.name} is no Y4M from frame {number} on: it holds something else")
        yield CapturedFrame(_read_planes(reader, layout), timestamp_s=number / layout.fps)
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
