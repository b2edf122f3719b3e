"""Bytes from a pipe, as many as are asked for: with a time-out, and an end when the run stops."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

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
