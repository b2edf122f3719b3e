"""From a stream's first bytes to its frames: Y4M, and uncompressed BGR in NUT and Matroska."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import numpy as np

from ...errors import InputError
from .raw_frames import Y4M_MAGIC, ByteReader, StreamEndError, y4m_frames
from .source import CapturedFrame, check_announced

NUT_MAGIC = b"nut/multimedia container\0"

_MAIN, _STREAM, _SYNCPOINT = 0x4E4D7A561F5F04AD, 0x4E5311405BF2F9DB, 0x4E4BE4ADEECA4569
_STARTCODE_BYTE = ord("N")

_CODED_PTS, _STREAM_ID, _SIZE_MSB, _CHECKSUM, _RESERVED = 8, 16, 32, 64, 128
_HEADER_IDX, _MATCH_TIME, _CODED, _INVALID = 1024, 2048, 4096, 8192

_LARGEST_PACKET = 1 << 20  # bytes; headers have some hundreds
_LARGEST_UNCHECKED = 4096  # bytes of a packet without a checksum of its header, or of a frame that is elided


class _Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _FrameCode:
    """What a frame's first byte says."""

    flags: int
    size_multiplier: int
    size: int
    pts_delta: int
    reserved: int
    header: int


@dataclass(slots=True)
class _State:
    """What the headers said, and the last frame's time."""

    codes: list[_FrameCode]
    headers: list[bytes]
    seconds_per_tick: float
    size_hw: tuple[int, int] = (0, 0)
    pts_bits: int = 0
    pts: int = 0


def nut_frames(reader: ByteReader) -> Generator[CapturedFrame, None, None]:
    """Read the frames of NUT, FFmpeg's own container, which it writes without delay. See `Connection.frames`.

    FFmpeg's `nut.txt` describes the format: packets that begin with a start code, and frames that begin with
    a code whose meaning is a table in the main header. Checksums are passed over: a pipe does not err.
    """
    reader.read(len(NUT_MAGIC))
    state = _State([], [b""], 1.0)
    while first := reader.peek(1):
        try:
            if first[0] == _STARTCODE_BYTE:
                state = _after_packet(reader, state)
            else:
                yield _nut_frame(reader, state)
        except (StreamEndError, IndexError):
            raise InputError(f"{reader.name} is no NUT from here on, or breaks off") from None


def _after_packet(reader: ByteReader, state: _State) -> _State:
    code = int.from_bytes(reader.read(8), "big")
    size = _number(reader)
    if size > _LARGEST_UNCHECKED:
        reader.skip(4)
    if size > _LARGEST_PACKET:
        raise InputError(f"{reader.name} is no NUT from here on: it holds something else")
    packet = BytesIO(reader.read(size))
    if code == _MAIN:
        return _read_main(packet)
    if code == _STREAM:
        _read_stream(packet, state)
    elif code == _SYNCPOINT:
        state.pts = _number(packet)  # there is one time base
    return state


def _read_main(packet: BytesIO) -> _State:
    if _number(packet) > 3:  # version
        _number(packet)  # minor version
    _number(packet), _number(packet)  # streams, largest distance between sync points
    bases = [(_number(packet), _number(packet)) for _ in range(_number(packet))]
    codes = _read_codes(packet)
    headers = [b"", *(packet.read(_number(packet)) for _ in range(_number(packet)))]
    return _State(codes, headers, bases[0][0] / bases[0][1])


def _read_codes(packet: BytesIO) -> list[_FrameCode]:
    """Expand the table of 256 frame codes; what a row leaves out stays as in the row before."""
    codes: list[_FrameCode] = []
    pts_delta, multiplier, header = 0, 1, 0
    while len(codes) < 256:
        flags, count = _number(packet), _number(packet)
        fields = [_signed(packet) if place in (0, 6) else _number(packet) for place in range(count)]
        given = dict(enumerate(fields))
        pts_delta, multiplier = given.get(0, pts_delta), given.get(1, multiplier)
        size, reserved, header = given.get(3, 0), given.get(4, 0), given.get(7, header)
        for step in range(min(given.get(5, multiplier - size), 256)):
            if len(codes) == _STARTCODE_BYTE:
                codes.append(_FrameCode(_INVALID, 1, 0, 0, 0, 0))
            codes.append(_FrameCode(flags, multiplier, size + step, pts_delta, reserved, header))
    return codes


def _read_stream(packet: BytesIO, state: _State) -> None:
    _number(packet), _number(packet)  # stream, class
    packet.read(_number(packet))  # fourcc
    _number(packet)  # time base
    state.pts_bits = _number(packet)
    _number(packet), _number(packet), _number(packet)  # largest distance of times, delay, flags
    packet.read(_number(packet))  # the codec's own
    width, height = _number(packet), _number(packet)
    state.size_hw = height, width


def _nut_frame(reader: ByteReader, state: _State) -> CapturedFrame:
    size, header = _read_frame_header(reader, state)
    height, width = state.size_hw
    check_announced(state.size_hw, reader.name)
    if size + len(header) != 3 * height * width:
        raise InputError(
            f"{reader.name} gave {size} bytes for a frame of {width}x{height}: its size has changed"
        )
    image_bgr = np.empty((height, width, 3), np.uint8)
    pixels = image_bgr.reshape(-1)
    pixels[: len(header)] = np.frombuffer(header, np.uint8)
    reader.read_into(pixels[len(header) :])
    return CapturedFrame(image_bgr, timestamp_s=state.pts * state.seconds_per_tick)


def _read_frame_header(reader: ByteReader, state: _State) -> tuple[int, bytes]:
    """Read what comes before a frame's bytes: their number, and the bytes before them that are elided."""
    code = state.codes[reader.read(1)[0]]
    flags = code.flags
    if flags & _CODED:
        flags ^= _number(reader)
    if flags & _STREAM_ID:
        _number(reader)
    state.pts = _pts(_number(reader), state) if flags & _CODED_PTS else state.pts + code.pts_delta
    size = code.size + (code.size_multiplier * _number(reader) if flags & _SIZE_MSB else 0)
    if flags & _MATCH_TIME:
        _number(reader)
    header = state.headers[_number(reader) if flags & _HEADER_IDX else code.header]
    for _ in range(_number(reader) if flags & _RESERVED else code.reserved):
        _number(reader)
    if flags & _CHECKSUM:
        reader.skip(4)
    if flags & _INVALID:
        raise InputError(f"{reader.name} is no NUT from here on: it holds something else")
    return (size, b"") if size > _LARGEST_UNCHECKED else (size - len(header), header)


def _pts(coded: int, state: _State) -> int:
    """Complete a time of which only the low bits may be coded: the nearest to the one before."""
    span = 1 << state.pts_bits
    if coded >= span:
        return coded - span
    least = state.pts - (span - 1) // 2
    return (coded - least) % span + least


def _number(stream: _Readable) -> int:
    """Read an unsigned number, seven bits a byte."""
    number = 0
    while True:
        byte = stream.read(1)[0]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number


def _signed(stream: _Readable) -> int:
    number = _number(stream) + 1
    return -(number >> 1) if number & 1 else number >> 1


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


def matroska_frames(reader: ByteReader) -> Generator[CapturedFrame, None, None]:
    """Read the frames of Matroska as GStreamer's `matroskamux streamable=true` writes it.

    A file is a tree of elements: identifier, size, content (RFC 9559). Elements that hold others are entered,
    a dozen kinds are read, the rest is passed over. See `Connection.frames`.
    """
    numbers = {_TIMESTAMP_SCALE: 1_000_000, _CLUSTER_TIME: 0, _WIDTH: 0, _HEIGHT: 0}
    while reader.peek(1):
        element, size = _vint(reader, keep_marker=True), _vint(reader, keep_marker=False)
        if element in _NUMBERS and size <= _LARGEST_NUMBER_BYTES:
            numbers[element] = int.from_bytes(reader.read(size), "big")
        elif element in (_SIMPLE_BLOCK, _BLOCK):
            yield _matroska_frame(reader, size, numbers)
        elif element == _CODEC and size <= _LONGEST_NAME:
            _check_codec(reader.read(size), reader.name)
        elif element not in _ENTERED:
            reader.skip(size)


def _matroska_frame(reader: ByteReader, size: int, numbers: dict[int, int]) -> CapturedFrame:
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
    return CapturedFrame(image_bgr, timestamp_s=ticks * numbers[_TIMESTAMP_SCALE] / 1e9)


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


_READERS = {Y4M_MAGIC: y4m_frames, MATROSKA_MAGIC: matroska_frames, NUT_MAGIC: nut_frames}


def container_frames(reader: ByteReader) -> Generator[CapturedFrame, None, None]:
    """Read a stream that describes itself: Y4M, NUT or Matroska. See `Connection.frames`.

    Raises:
        InputError: it is none of them, or breaks off.
    """
    try:
        start = reader.peek(max(map(len, _READERS)))
        for magic, frames in _READERS.items():
            if start.startswith(magic):
                yield from frames(reader)
                return
    except StreamEndError:  # the run stops
        return
    if not start:
        raise InputError(f"{reader.name} ended before its first frame")
    raise InputError(
        f"{reader.name} is neither Y4M, NUT nor Matroska: it begins with {start[:10]!r}. "
        "Raw frames need raw:width=...,height=...,fps=... as SOURCE"
    )
