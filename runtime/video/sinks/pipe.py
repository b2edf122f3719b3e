"""Writing whole pictures into a pipe."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray


def write_all(descriptor: int, picture: NDArray[np.uint8]) -> None:
    """Write all bytes of an array, waiting while the pipe is full.

    Raises:
        BrokenPipeError: the reader has gone.
    """
    left = np.ascontiguousarray(picture).data.cast("B")
    while left:
        left = left[os.write(descriptor, left) :]
