"""A video file as a source."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np

from ...errors import InputError
from ..frame import Frame
from ..images import check_size
from ..opencv_setup import silence
from .source import taken_of


class VideoSource:
    """A video file, read with OpenCV."""

    is_live = False

    def __init__(self, path: Path, *, every: int, max_frames: int | None) -> None:
        """Open a video file.

        Args:
            path: an existing file.
            every: take one frame in so many.
            max_frames: take so many at most.

        Raises:
            InputError: it is no video, or one that OpenCV cannot read.
        """
        silence()
        self._path, self._every = path, every
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{path} is no video that OpenCV can read: it is empty, damaged or of another kind. "
                "Try it in a player"
            )
        width, height = (
            int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        check_size((height, width), str(path))
        self.fps: float | None = _positive(self._capture.get(cv2.CAP_PROP_FPS))
        announced = _positive(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._announced_s = announced / self.fps if announced and self.fps else None
        self._limit = max_frames
        self.frame_count: int | None = (
            taken_of(int(announced), every, max_frames) if announced else max_frames
        )
        rate = f", {self.fps:.4g} fps" if self.fps else ""
        length = f", {int(announced)} frames" if announced else ""
        self.description = f"{path}, {width}x{height}{rate}{length}"

    def frames(self) -> Generator[Frame, None, None]:
        """Read the video; see `Source.frames`."""
        index, given, timestamp_s = 0, 0, 0.0
        while given != self._limit and self._capture.grab():
            timestamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            if index % self._every == 0:
                yield self._frame(index, timestamp_s)
                given += 1
            index += 1
        if given != self._limit:
            self._check_end(index, timestamp_s)

    def stop(self) -> None:
        """Nothing to interrupt: no read waits."""

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _frame(self, index: int, timestamp_s: float) -> Frame:
        captured_s = time.monotonic()
        whole, image_bgr = self._capture.retrieve()
        if not whole:
            raise InputError(f"{self._path}: frame {index} cannot be decoded")
        return Frame(
            index=index,
            name=f"{index:06d}",
            image_bgr=image_bgr.astype(np.uint8, copy=False),
            captured_s=captured_s,
            timestamp_s=timestamp_s,
        )

    def _check_end(self, frame_count: int, last_s: float) -> None:
        """Tell a video that is over from one that breaks off; times, since counts are often estimates."""
        if frame_count == 0:
            raise InputError(f"{self._path} has no frame that can be decoded")
        if self._announced_s and self._announced_s - last_s > max(0.1 * self._announced_s, 0.5):
            raise InputError(
                f"{self._path} breaks off after {frame_count} frames, at {last_s:.1f} s of "
                f"{self._announced_s:.1f} s: it is cut off or damaged. The frames before are done"
            )


def _positive(value: float) -> float | None:
    """OpenCV's word for "unknown" is zero or below."""
    return value if value > 0 else None
