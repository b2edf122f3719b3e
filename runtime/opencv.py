"""OpenCV's habits that a pipeline cannot have: its own messages, and its own threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


def silence() -> None:
    """Turn off OpenCV's and FFmpeg's own messages, before the first video; what matters is raised here."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 5, and 4 before it
    logging.setLogLevel(0)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Keep OpenCV to the thread that calls it: its workers spin while they wait, on inference's cores."""
    former = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(former)
