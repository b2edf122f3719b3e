"""From a stream's first bytes to its frames."""

from __future__ import annotations

from collections.abc import Generator

from ...errors import InputError
from .byte_reader import ByteReader, StreamEndError
from .matroska import MATROSKA_MAGIC, matroska_pictures
from .nut import NUT_MAGIC, nut_pictures
from .picture import Picture
from .raw_frames import Y4M_MAGIC, y4m_pictures

_READERS = {Y4M_MAGIC: y4m_pictures, MATROSKA_MAGIC: matroska_pictures, NUT_MAGIC: nut_pictures}


def pictures_of(reader: ByteReader) -> Generator[Picture, None, None]:
    """Read a stream that describes itself: Y4M, NUT or Matroska. See `Connection.pictures`.

    Raises:
        InputError: it is none of them, or breaks off.
    """
    try:
        start = reader.peek(max(map(len, _READERS)))
        for magic, pictures in _READERS.items():
            if start.startswith(magic):
                yield from pictures(reader)
                return
    except StreamEndError:  # the run stops
        return
    if not start:
        raise InputError(f"{reader.name} ended before its first frame")
    raise InputError(
        f"{reader.name} is neither Y4M, NUT nor Matroska: it begins with {start[:10]!r}. "
        "Raw frames need raw:width=...,height=...,fps=... as SOURCE"
    )
