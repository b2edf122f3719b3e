"""A V4L2 camera through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import cv2
import numpy as np

from ...errors import InputError
from ...opencv import silence
from .source import CapturedFrame, Parameters

_OLDEST_STAMP_S = 10.0  # a buffer's time further away than that is by another clock


class CameraConnection:
    """One opening of a camera. A driver that gives nothing for ten seconds counts as gone: OpenCV's limit."""

    duration_s: float | None = None
    fps: float | None = None

    def __init__(self, capture: cv2.VideoCapture, name: str) -> None:
        """Take a capture that someone opened.

        Args:
            capture: of the camera; this object releases it.
            name: of the camera, for errors.

        Raises:
            InputError: the capture is not open.
        """
        self._capture, self._name = capture, name
        if not capture.isOpened():
            raise InputError(
                f"{name} cannot be opened: it is not there, in use, or not yours to read: ls -l /dev/video*"
            )

    def frames(self) -> Generator[CapturedFrame, None, None]:
        """Read the camera; see `Connection.frames`."""
        while True:
            whole, image_bgr = self._capture.read()
            if not whole:
                raise InputError(f"{self._name} gives no more frames")
            timestamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            yield CapturedFrame(
                image_bgr.astype(np.uint8, copy=False),
                timestamp_s=timestamp_s or None,
                captured_s=_captured_s(timestamp_s),
            )

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


def camera_opener(text: str) -> Callable[[], CameraConnection]:
    """Read `camera:0,width=1280,height=720,fps=30`, or `camera:/dev/video2`, and give what opens it.

    Raises:
        UsageError: a parameter cannot be.
    """
    found = Parameters.parse(text, ("width", "height", "fps"))
    device = found.device()
    wanted = {
        key: found.number(name, 0.0, least=1)
        for name, key in (
            ("width", cv2.CAP_PROP_FRAME_WIDTH),
            ("height", cv2.CAP_PROP_FRAME_HEIGHT),
            ("fps", cv2.CAP_PROP_FPS),
        )
        if name in found.values
    }

    def open_camera() -> CameraConnection:
        silence()
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        for key, value in wanted.items():
            capture.set(key, value)
        return CameraConnection(capture, found.name)

    return open_camera


def _captured_s(timestamp_s: float) -> float | None:
    """Take the driver's time of capture where it is by the monotonic clock, as with most."""
    age_s = time.monotonic() - timestamp_s
    return timestamp_s if 0 <= age_s < _OLDEST_STAMP_S else None
