"""The protocol that all sinks satisfy, and how one of them ends a run."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...frame import Result


class SinkClosedError(Exception):
    """Whoever watched this sink has gone, such as a closed window; its text says who."""


class Sink(Protocol):
    """Takes results in order. What it wrote stays whole however the run ends."""

    @property
    def description(self) -> str:
        """What is written where, in a few words."""
        ...

    @property
    def shows_pictures(self) -> bool:
        """Whether it needs the renderer's pictures."""
        ...

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            OutputError: it cannot be written.
            SinkClosedError: nobody wants more; the run ends well.
        """
        ...

    def close(self) -> None:
        """Finish what was written, also after a failure elsewhere.

        Raises:
            OutputError: it cannot be finished.
        """
        ...


def write_all(descriptor: int, content: NDArray[np.uint8] | bytes) -> None:
    """Write all bytes of an array, waiting while the pipe is full.

    Raises:
        BrokenPipeError: the reader has gone.
    """
    left = memoryview(content) if isinstance(content, bytes) else np.ascontiguousarray(content).data.cast("B")
    while left:
        left = left[os.write(descriptor, left) :]


class NullSink:
    """Takes pictures and forgets them; they are rendered all the same."""

    shows_pictures = True
    description = "nothing"

    def write(self, result: Result) -> None:
        """Forget the result."""

    def close(self) -> None:
        """Nothing to finish."""
