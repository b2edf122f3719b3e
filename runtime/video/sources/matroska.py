"""Uncompressed BGR frames in Matroska, as GStreamer's `matroskamux streamable=true` writes them.

The file is a tree of elements: identifier, size, content (RFC 9559). Elements that hold others are entered,
a dozen kinds are read, the rest is passed over.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ...errors import InputError
from .byte_reader import ByteReader, StreamEndError
from .picture import Picture, check_announced

MATROSKA_MAGIC = b"\x1a\x45\xdf\xa3"

_SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0
_CLUSTER, _BLOCK_GROUP = 0x1F43B675, 0xA0
_ENTERED = {_SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO, _CLUSTER, _BLOCK_GROUP}
_TIMESTAMP_SCALE, _CLUSTER_TIME, _WIDTH, _HEIGHT = 0x2AD7B1, 0xE7, 0xB0, 0xBA
_NUMBERS = {_TIMESTAMP_SCALE, _CLUSTER_TIME, _WIDTH, _HEIGHT}
_SIMPLE_BLOCK, _BLOCK = 0xA3, 0xA1
_CODEC = 0x86

_BLOCK_HEADER_BYTES = 4  # track, time within the cluster (2), flags
_LARGEST_NUMBER_BYTES = 8
_LONGEST_NAME = 64


def matroska_pictures(reader: ByteReader) -> Generator[Picture, None, None]:
    """Read the frames of a stream's only track. See `Connection.pictures`."""
    numbers = {_TIMESTAMP_SCALE: 1_000_000, _CLUSTER_TIME: 0, _WIDTH: 0, _HEIGHT: 0}
    while reader.peek(1):
        element, size = _vint(reader, keep_marker=True), _vint(reader, keep_marker=False)
        if element in _NUMBERS and size <= _LARGEST_NUMBER_BYTES:
            numbers[element] = int.from_bytes(reader.read(size), "big")
        elif element in (_SIMPLE_BLOCK, _BLOCK):
            yield _picture(reader, size, numbers)
        elif element == _CODEC and size <= _LONGEST_NAME:
            _check_codec(reader.read(size), reader.name)
        elif element not in _ENTERED:
            reader.skip(size)


def _picture(reader: ByteReader, size: int, numbers: dict[int, int]) -> Picture:
    """Read a block: a frame whose rows may be padded to four bytes."""
    height, width = numbers[_HEIGHT], numbers[_WIDTH]
    check_announced((height, width), reader.name)
    row_bytes, rest = divmod(size - _BLOCK_HEADER_BYTES, height)
    if rest or not 3 * width <= row_bytes <= 3 * width + 3:
        raise InputError(
            f"{reader.name} gave {size} bytes for a frame of {width}x{height}: its size has changed"
        )
    header = reader.read(_BLOCK_HEADER_BYTES)
    ticks = numbers[_CLUSTER_TIME] + int.from_bytes(header[1:3], "big", signed=True)
    rows = np.empty((height, row_bytes), np.uint8)
    reader.read_into(rows)
    image_bgr = rows[:, : 3 * width].reshape(height, width, 3)
    return Picture(image_bgr, timestamp_s=ticks * numbers[_TIMESTAMP_SCALE] / 1e9)


def _check_codec(codec: bytes, name: str) -> None:
    if codec.rstrip(b"\0") != b"V_UNCOMPRESSED":
        raise InputError(
            f"{name} holds {codec.decode('ascii', 'replace')} in Matroska, expected uncompressed BGR. "
            "Decode it first, with ffmpeg -f nut -c:v rawvideo -pix_fmt bgr24"
        )


def _vint(reader: ByteReader, *, keep_marker: bool) -> int:
    """Read a number whose first byte's leading zeros tell its length."""
    try:
        first = reader.read(1)[0]
        length = 9 - first.bit_length()
        if length > _LARGEST_NUMBER_BYTES:
            raise InputError(f"{reader.name} is no Matroska from here on: it holds something else")
        number = int.from_bytes(bytes([first]) + reader.read(length - 1), "big")
    except StreamEndError:
        raise InputError(f"{reader.name} breaks off in the middle of a frame") from None
    return number if keep_marker else number & ~(1 << 7 * length)
