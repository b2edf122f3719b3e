"""Checks of what every run needs (Python, OpenCV, temporary files) and of sources' programs and cameras."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path

from ..console import LIBRARY_REMEDY
from .accelerators import is_jetson
from .findings import Finding, NoAnswerError, broken, is_on_path, note, ok, query, query_python

_OLDEST_PYTHON = (3, 10)
_LEAST_FREE_MIB = 500
_MIB = 1 << 20

# OpenCV says in its build information what it was compiled with.
_OPENCV_CODE = """
import json, cv2, numpy
lines = cv2.getBuildInformation().splitlines()
pairs = (line.split(":", 1) for line in lines if ":" in line)
built = {name.strip(): value.strip() for name, value in pairs}
print(json.dumps({"version": cv2.__version__, "numpy": numpy.__version__, "built": built}))
"""
_GSTREAMER = "GStreamer (gst-launch-1.0 takes its place)"
_OPENCV_REMEDIES = {
    "FFmpeg": "to read videos: pip install opencv-python",
    "V4L2": "for camera:0: pip install opencv-python",
    "windows": "for --window: use --web, or pip install opencv-python in the place of a headless build",
}

# Elements of the pipelines that sources start, by Debian package.
_ELEMENTS = {
    "gstreamer1.0-plugins-base": ("decodebin", "videoconvert", "videoscale"),
    "gstreamer1.0-plugins-good": ("v4l2src", "rtspsrc", "rtph264depay", "jpegdec"),
    "gstreamer1.0-plugins-bad": ("h264parse", "h265parse"),
    "gstreamer1.0-libav": ("avdec_h264",),
}
_JETSON_ELEMENTS = ("nvarguscamerasrc", "nvv4l2decoder", "nvvidconv", "nvjpegdec")
_ENCODERS = ("libx264", "libx265")


def check_python() -> Finding:
    """Version, processor architecture and path of the Python that runs this."""
    found = f"{platform.python_version()}, {platform.machine()}, {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return broken(found, "Python 3.10 is the oldest that is supported: install a newer one")
    return ok(found)


def check_opencv() -> Finding:
    """Versions of OpenCV and NumPy, and which of OpenCV's back-ends are built in.

    Broken only where the import fails: a time-out on a slow machine proves nothing.
    """
    try:
        answer = query_python(_OPENCV_CODE, module="cv2")
    except NoAnswerError as error:
        if not error.is_failure:
            raise
        remedy = error.remedy or f"pip install opencv-python. {LIBRARY_REMEDY}"
        return broken(f"cannot be imported: {error}", remedy)
    built = answer["built"]
    present = {
        "FFmpeg": built.get("FFMPEG", "NO").startswith("YES"),
        "V4L2": built.get("v4l/v4l2", "NO").startswith("YES"),
        "windows": built.get("GUI", "NONE") != "NONE",
        _GSTREAMER: built.get("GStreamer", "NO").startswith("YES"),
    }
    missing = [name for name, is_present in present.items() if not is_present]
    found = ", ".join([f"{answer['version']}, NumPy {answer['numpy']}", *(f"no {name}" for name in missing)])
    remedies = [_OPENCV_REMEDIES[name] for name in missing if name in _OPENCV_REMEDIES]
    return note(found, "; ".join(remedies)) if remedies else ok(found)


def check_temporary_folder() -> Finding:
    """Whether the folder for temporary files is writable and has room."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"saliency")
    except OSError as error:
        return broken(f"not writable: {error.strerror}", "set TMPDIR to a folder that is writable")
    folder = tempfile.gettempdir()
    free_mib = shutil.disk_usage(folder).free // _MIB
    if free_mib < _LEAST_FREE_MIB:
        return note(
            f"{folder}, {free_mib} MiB free", "free some space, or set TMPDIR to a folder on another disk"
        )
    return ok(f"{folder}, {free_mib / 1024:.1f} GiB free")


def check_ffmpeg() -> Finding:
    """Version of the ffmpeg program, and which H.264 and H.265 encoders it has."""
    if not is_on_path("ffmpeg"):
        return note(
            "not installed", "for network streams, ffmpeg: sources and --qp-map: apt-get install ffmpeg"
        )
    version = re.search(r"version (\S+)", query(["ffmpeg", "-version"]))
    encoders = query(["ffmpeg", "-hide_banner", "-encoders"])
    return ok(
        ", ".join([version[1] if version else "?", *(name for name in _ENCODERS if f" {name} " in encoders)])
    )


def check_gstreamer() -> Finding:
    """Version of GStreamer's programs, which `gst:` and `csi:` sources start."""
    missing = [name for name in ("gst-launch-1.0", "gst-inspect-1.0") if not is_on_path(name)]
    if missing:
        remedy = "for gst: and csi: sources: apt-get install gstreamer1.0-tools"
        return note(f"no {' and no '.join(missing)}", remedy)
    version = re.search(r"version (\S+)", query(["gst-inspect-1.0", "--version"]))
    return ok(version[1] if version else "?")


def check_gstreamer_elements(root: Path = Path("/")) -> Finding:
    """Whether GStreamer has the elements of our pipelines; on a Jetson, those of its hardware too."""
    if not is_on_path("gst-inspect-1.0"):
        return note("none", "see GStreamer")
    present = set(re.findall(r"(?m)^\S+:\s+([\w-]+):", query(["gst-inspect-1.0"])))
    packages = [package for package, names in _ELEMENTS.items() if not present.issuperset(names)]
    wanted = [name for names in _ELEMENTS.values() for name in names]
    if is_jetson(root):
        wanted += _JETSON_ELEMENTS
    missing = [name for name in wanted if name not in present]
    if packages:
        return note(f"no {', '.join(missing)}", f"apt-get install {' '.join(packages)}")
    if missing:
        remedy = "apt-get install nvidia-l4t-gstreamer; in a container, use one of NVIDIA's l4t images"
        return note(f"no {', '.join(missing)}", remedy)
    return ok(f"all {len(wanted)} that sources use")


def check_cameras(root: Path = Path("/")) -> Finding:
    """Cameras at /dev/video*, by their drivers' names, and whether this user may open them."""
    devices = sorted(
        (root / "dev").glob("video[0-9]*"), key=lambda path: int(path.name.removeprefix("video"))
    )
    if not devices:
        remedy = "for camera:0, plug one in; in a container: docker run --device /dev/video0"
        return note("none at /dev/video*", remedy)
    found = ", ".join(f"{path.name} ({_camera_name(path, root)})" for path in devices)
    closed = [path.name for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        return note(
            f"{found}; no permission to open {', '.join(closed)}",
            "sudo usermod -aG video $USER, then log in again",
        )
    return ok(found)


def _camera_name(device: Path, root: Path) -> str:
    path = root / "sys/class/video4linux" / device.name / "name"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else "no name"
