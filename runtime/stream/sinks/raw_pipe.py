"""Pictures without compression through a pipe, for another program such as ffmpeg."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import OutputError, UsageError
from ...fit import fit_frame, size_hw_of
from ...frame import Result
from .sink import SinkClosedError, write_all

PipeFormat = Literal["bgr24", "y4m"]

_DEFAULT_FPS = 25.0
_HEADER = (
    "YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n"
)


class RawSink:
    """Writes pictures to a pipe: `bgr24`, nothing but pixels; `y4m`, I420 with a header that players read."""

    shows_pictures = True
    has_reader = True

    def __init__(self, descriptor: int, raw_format: PipeFormat, *, fps: float | None) -> None:
        """Take a pipe's descriptor, which stays the caller's.

        Args:
            descriptor: where the bytes go, such as standard output's.
            raw_format: `bgr24` or `y4m`.
            fps: for y4m's header; 25 where it is not known.

        Raises:
            UsageError: it is a terminal.
        """
        if os.isatty(descriptor):
            raise UsageError("raw frames would fill the terminal. Pipe them: ... | ffplay -f yuv4mpegpipe -")
        self.description = f"{raw_format} frames to a pipe"
        self._descriptor, self._format = descriptor, raw_format
        self._rate = Fraction(fps or _DEFAULT_FPS).limit_denominator(1001)
        self._size_hw: tuple[int, int] | None = None

    def write(self, result: Result) -> None:
        """Write a picture; one of another size is brought to the first one's, its aspect kept.

        Raises:
            SinkClosedError: the reader has gone.
            OutputError: standard output is closed, or its disk is full.
        """
        try:
            self._write(result.picture_bgr)
        except BrokenPipeError:
            raise SinkClosedError("the reader of the raw frames has gone") from None
        except OSError as error:
            raise OutputError(f"cannot write raw frames to standard output: {error.strerror}") from error

    def close(self) -> None:
        """Nothing to finish: each picture is whole."""

    def _write(self, picture_bgr: NDArray[np.uint8]) -> None:
        if self._size_hw is None:
            self._size_hw = self._size_of(picture_bgr)
            self._start(self._size_hw)
        fitted_bgr = fit_frame(picture_bgr, self._size_hw, "pad")
        if self._format == "y4m":
            write_all(self._descriptor, b"FRAME\n")
            fitted_bgr = cv2.cvtColor(fitted_bgr, cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
        write_all(self._descriptor, fitted_bgr)

    def _size_of(self, picture_bgr: NDArray[np.uint8]) -> tuple[int, int]:
        """Size of the rendered frames; I420 needs even sides."""
        height, width = size_hw_of(picture_bgr)
        return (height, width) if self._format == "bgr24" else (height // 2 * 2, width // 2 * 2)

    def _start(self, size_hw: tuple[int, int]) -> None:
        if self._format == "y4m":
            header = _HEADER.format(width=size_hw[1], height=size_hw[0], rate=self._rate)
            write_all(self._descriptor, header.encode())
