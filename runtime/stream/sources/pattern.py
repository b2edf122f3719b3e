"""A moving pattern, for tests and for a first look: no camera and no file is needed."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...frame import Frame
from ...images import check_size
from .source import MOST_FPS, Parameters, taken_of

_SECONDS_PER_ROUND = 4.0  # of the bright spot


class PatternSource:
    """A bright spot that goes round on a grey slope: no frame is like the one before."""

    def __init__(self, text: str, *, every: int, max_frames: int | None) -> None:
        """Read the parameters.

        Args:
            text: `test:` with `width`, `height`, `fps`, `frames`, and `pace`: `live` comes in real time like
                a camera, `fast` as fast as it is read.
            every: take one frame in so many.
            max_frames: take so many at most.

        Raises:
            UsageError: a parameter cannot be.
        """
        found = Parameters.parse(text, ("width", "height", "fps", "frames", "pace"), has_subject=False)
        self._size_hw = found.size_hw((360, 640))
        check_size(self._size_hw, found.name)
        self._rate_fps = found.number("fps", 30.0, most=MOST_FPS)
        self.fps: float | None = self._rate_fps
        self.is_live = found.choice("pace", ("live", "fast"), "live") == "live"
        self._length = found.integer("frames", 1) if "frames" in found.values else None
        self._every, self._limit = every, max_frames
        self.frame_count = max_frames if self._length is None else taken_of(self._length, every, max_frames)
        height, width = self._size_hw
        self.description = f"test pattern, {width}x{height}, {self._rate_fps:.4g} fps"
        self._stopped = Event()

    def frames(self) -> Generator[Frame, None, None]:
        """Draw the frames; see `Source.frames`."""
        slope = _slope(self._size_hw)
        index, start_s = 0, time.monotonic()
        while index != self._length and index // self._every != self._limit:
            due_s = start_s + index / self._rate_fps
            if self._is_stopped_before(due_s):
                break
            if index % self._every == 0:
                image_bgr = _draw(slope, index / self._rate_fps)
                captured_s = due_s if self.is_live else time.monotonic()
                timestamp_s = index / self._rate_fps
                yield Frame(
                    index=index,
                    name=f"{index:06d}",
                    image_bgr=image_bgr,
                    captured_s=captured_s,
                    timestamp_s=timestamp_s,
                )
            index += 1

    def stop(self) -> None:
        """End the wait for the next frame."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing to release."""

    def _is_stopped_before(self, due_s: float) -> bool:
        delay_s = due_s - time.monotonic()
        return self._stopped.wait(delay_s) if self.is_live and delay_s > 0 else self._stopped.is_set()


def _slope(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw the background: dark at the left, grey at the right."""
    levels = np.linspace(16, 112, size_hw[1]).astype(np.uint8)
    slope = np.empty((*size_hw, 3), np.uint8)
    slope[:] = levels[np.newaxis, :, np.newaxis]
    return slope


def _draw(slope: NDArray[np.uint8], time_s: float) -> NDArray[np.uint8]:
    """Put the spot where it is at that time."""
    image_bgr: NDArray[np.uint8] = slope.copy()
    height, width = slope.shape[:2]
    angle = 2 * math.pi * time_s / _SECONDS_PER_ROUND
    row, column = int(height * (0.5 + 0.3 * math.sin(angle))), int(width * (0.5 + 0.3 * math.cos(angle)))
    radius = max(1, height // 10)
    image_bgr[max(0, row - radius) : row + radius, max(0, column - radius) : column + radius] = (80, 200, 255)
    return image_bgr
