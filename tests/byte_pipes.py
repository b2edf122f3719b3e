"""Bytes in a pipe, as a program that streams frames writes them."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Thread

from saliency_edge.runtime.stream.sources.raw_frames import ByteReader


@contextmanager
def reader_of(data: bytes) -> Generator[ByteReader, None, None]:
    """Send bytes through a pipe."""
    readable, writable = os.pipe()

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(writable, "wb") as stream:
            stream.write(data)

    writer = Thread(target=write)
    writer.start()
    try:
        yield ByteReader(readable, name="pipe", timeout_s=5.0, is_stopped=lambda: False)
    finally:
        os.close(readable)
        writer.join()
