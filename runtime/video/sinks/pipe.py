"""Writing all of something into a pipe."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray


def write_all(descriptor: int, content: NDArray[np.uint8] | bytes) -> None:
    """Write all bytes of an array, waiting while the pipe is full.

    Raises:
        BrokenPipeError: the reader has gone.
    """
    left = memoryview(content) if isinstance(content, bytes) else np.ascontiguousarray(content).data.cast("B")
    while left:
        left = left[os.write(descriptor, left) :]
