"""OpenCV and FFmpeg write to stderr by themselves; what matters of it is raised as an error here."""

from __future__ import annotations

import os

import cv2


def silence() -> None:
    """Turn off OpenCV's and FFmpeg's own messages, before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
