"""Frames on stdin: a stream that describes itself, or raw ones of a size that is given."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from threading import Event

from ...errors import InputError, UsageError
from ...frame import Frame
from ...public_text import public_name
from .containers import container_frames
from .raw_frames import PIXEL_FORMATS, ByteReader, PixelFormat, RawFormat, raw_frames
from .source import MOST_FPS, CapturedFrame, Parameters, SourceOptions


class PipeSource:
    """Frames from a descriptor. All are taken: whoever writes waits until they are."""

    fps: float | None = None
    is_live = False

    def __init__(self, name: str, descriptor: int, layout: RawFormat | None, options: SourceOptions) -> None:
        """Take a descriptor; it is read when the run begins.

        Args:
            name: what the user calls it.
            descriptor: to read; someone else closes it.
            layout: of raw frames; `None`: the stream describes itself.
            options: limits.
        """
        self.description = f"frames on stdin ({name})"
        self.frame_count = options.max_frames
        self._layout, self._options = layout, options
        self._stopped = Event()
        self._reader = ByteReader(descriptor, name="stdin", timeout_s=None, is_stopped=self._stopped.is_set)
        if layout is not None:
            self.fps = layout.fps

    def frames(self) -> Generator[Frame, None, None]:
        """Read the stream; see `Source.frames`."""
        frames = raw_frames(self._reader, self._layout) if self._layout else container_frames(self._reader)
        index = -1
        for index, captured in enumerate(frames):
            if index % self._options.every == 0:
                yield _frame(index, captured)
                if index // self._options.every + 1 == self._options.max_frames:
                    return

        if index < 0 and not self._stopped.is_set():
            raise InputError("stdin ended before its first frame")

    def stop(self) -> None:
        """End the wait for more; see `Source.stop`."""
        self._stopped.set()

    def close(self) -> None:
        """Leave the descriptor to whoever opened it."""


def open_standard_input(text: str, options: SourceOptions) -> PipeSource:
    """Read `-`, or `raw:width=640,height=360,fps=30,pixels=bgr24`.

    Raises:
        UsageError: a parameter cannot be, or stdin is a terminal.
    """
    layout = None if text == "-" else _raw_format(text)
    name = public_name(text)
    try:
        descriptor = sys.stdin.fileno()
        is_terminal = os.isatty(descriptor)
    except (AttributeError, ValueError):  # Python has no stdin where it was closed
        raise UsageError(f"SOURCE {name} reads frames from stdin, which is closed") from None
    if is_terminal:
        raise UsageError(
            f"SOURCE {name} reads frames from stdin, which is a terminal. Pipe a program into it"
        )
    return PipeSource(name, descriptor, layout, options)


def _raw_format(text: str) -> RawFormat:
    found = Parameters.parse(text, ("width", "height", "fps", "pixels"), has_subject=False)
    if not {"width", "height"} <= set(found.values):
        raise UsageError(f"{found.name}: raw frames need a size, such as raw:width=640,height=360,fps=30")
    pixels: dict[str, PixelFormat] = {name: name for name in PIXEL_FORMATS}
    return RawFormat(
        size_hw=found.size_hw((0, 0)),
        fps=found.number("fps", 25.0, most=MOST_FPS),
        pixels=pixels[found.choice("pixels", PIXEL_FORMATS, "bgr24")],
    )


def _frame(index: int, captured: CapturedFrame) -> Frame:
    return Frame(
        index=index,
        name=f"{index:06d}",
        image_bgr=captured.image_bgr,
        captured_s=time.monotonic(),
        timestamp_s=captured.timestamp_s,
    )
