"""Checks of what every run needs: Python, OpenCV, a place for files; and of OpenCV's back-ends."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile

from ..console import LIBRARY_REMEDY
from .ask import NoAnswerError, ask_python
from .finding import Finding, broken, note, ok

_OLDEST_PYTHON = (3, 10)
_LEAST_FREE_MIB = 500
_MIB = 1 << 20

# OpenCV says in its build information what it was compiled with.
_OPENCV_CODE = """
import json, re, cv2, numpy
lines = cv2.getBuildInformation().splitlines()
pairs = (line.split(":", 1) for line in lines if ":" in line)
built = {name.strip(): value.strip() for name, value in pairs}
print(json.dumps({"version": cv2.__version__, "numpy": numpy.__version__, "built": built}))
"""

_GSTREAMER = "GStreamer (gst-launch-1.0 takes its place)"
_OPENCV_REMEDIES = {
    "FFmpeg": "to read videos: pip install opencv-python",
    "V4L2": "for camera:0: pip install opencv-python",
    "windows": "to show pictures: --web, or pip install opencv-python in the place of a headless one",
}


def check_python() -> Finding:
    """Look at the Python that runs this."""
    found = f"{platform.python_version()}, {platform.machine()}, {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return broken(found, "Python 3.10 is the oldest that is supported: install a newer one")
    return ok(found)


def check_opencv() -> Finding:
    """Look at OpenCV and NumPy, which read, fit and draw all frames, and at OpenCV's back-ends."""
    try:
        answer = ask_python(_OPENCV_CODE)
    except NoAnswerError as error:
        return broken(f"cannot be imported: {error}", f"pip install opencv-python. {LIBRARY_REMEDY}")
    built = answer["built"]
    there = {
        "FFmpeg": _has(built, "FFMPEG"),
        "V4L2": _has(built, "v4l/v4l2"),
        "windows": built.get("GUI", "NONE") != "NONE",
        _GSTREAMER: _has(built, "GStreamer"),
    }
    lacking = [name for name, is_there in there.items() if not is_there]
    found = ", ".join([f"{answer['version']}, NumPy {answer['numpy']}", *(f"no {name}" for name in lacking)])
    remedies = [_OPENCV_REMEDIES[name] for name in lacking if name in _OPENCV_REMEDIES]
    return note(found, "; ".join(remedies)) if remedies else ok(found)


def check_temporary_folder() -> Finding:
    """Look at the folder for temporary files."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"saliency")
    except OSError as error:
        return broken(f"not writable: {error.strerror}", "set TMPDIR to a folder that is writable")
    folder = tempfile.gettempdir()
    free_mib = shutil.disk_usage(folder).free // _MIB
    if free_mib < _LEAST_FREE_MIB:
        return note(f"{folder}, {free_mib} MiB free", "make room, or set TMPDIR to a folder on another disk")
    return ok(f"{folder}, {free_mib / 1024:.1f} GiB free")


def _has(built: dict[str, str], name: str) -> bool:
    return built.get(name, "NO").startswith("YES")
