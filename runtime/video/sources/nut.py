"""Uncompressed BGR frames in NUT, FFmpeg's own container, which it writes without delay.

The format is described in FFmpeg's `nut.txt`: packets that begin with a start code, and frames that begin
with a code whose meaning is a table in the main header. Checksums are passed over: a pipe does not err.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import numpy as np

from ...errors import InputError
from .byte_reader import ByteReader, StreamEndError
from .picture import Picture, check_announced

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


def nut_pictures(reader: ByteReader) -> Generator[Picture, None, None]:
    """Read the frames of a stream's only track. See `Connection.pictures`."""
    reader.read(len(NUT_MAGIC))
    state = _State([], [b""], 1.0)
    while first := reader.peek(1):
        try:
            if first[0] == _STARTCODE_BYTE:
                state = _after_packet(reader, state)
            else:
                yield _picture(reader, state)
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


def _picture(reader: ByteReader, state: _State) -> Picture:
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
    return Picture(image_bgr, timestamp_s=state.pts * state.seconds_per_tick)


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
