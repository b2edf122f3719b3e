"""Checks of programs beside Python: FFmpeg and GStreamer."""

from __future__ import annotations

import re
from pathlib import Path

from .ask import ask, is_installed
from .finding import Finding, note, ok
from .jetson import is_jetson

# What the sources' pipelines are made of, by Debian's package.
_ELEMENTS = {
    "gstreamer1.0-plugins-base": ("decodebin", "videoconvert", "videoscale"),
    "gstreamer1.0-plugins-good": ("v4l2src", "rtspsrc", "rtph264depay", "jpegdec"),
    "gstreamer1.0-plugins-bad": ("h264parse", "h265parse"),
    "gstreamer1.0-libav": ("avdec_h264",),
}
_JETSON_ELEMENTS = ("nvarguscamerasrc", "nvv4l2decoder", "nvvidconv", "nvjpegdec")
_ENCODERS = ("libx264", "libx265")


def check_ffmpeg() -> Finding:
    """Look at FFmpeg's program, for `ffmpeg:` sources, and for encoding by --qp-map."""
    if not is_installed("ffmpeg"):
        return note("not installed", "for ffmpeg: sources and --qp-map's filter: apt-get install ffmpeg")
    version = re.search(r"version (\S+)", ask(["ffmpeg", "-version"]))
    encoders = ask(["ffmpeg", "-hide_banner", "-encoders"])
    found = ", ".join(
        [version[1] if version else "?", *(name for name in _ENCODERS if f" {name} " in encoders)]
    )
    return ok(found)


def check_gstreamer() -> Finding:
    """Look at GStreamer's programs, for `gst:` and `csi:` sources."""
    missing = [name for name in ("gst-launch-1.0", "gst-inspect-1.0") if not is_installed(name)]
    if missing:
        remedy = "for gst: and csi: sources: apt-get install gstreamer1.0-tools"
        return note(f"no {' and no '.join(missing)}", remedy)
    version = re.search(r"version (\S+)", ask(["gst-inspect-1.0", "--version"]))
    return ok(version[1] if version else "?")


def check_gstreamer_elements(root: Path = Path("/")) -> Finding:
    """Look at the elements that pipelines are made of; on a Jetson, those of its hardware too."""
    if not is_installed("gst-inspect-1.0"):
        return note("none", "see GStreamer")
    there = set(re.findall(r"(?m)^\S+:\s+([\w-]+):", ask(["gst-inspect-1.0"])))
    packages = [package for package, names in _ELEMENTS.items() if not there.issuperset(names)]
    wanted = [*(name for names in _ELEMENTS.values() for name in names), *_jetson_elements(root)]
    missing = [name for name in wanted if name not in there]
    if packages:
        return note(f"no {', '.join(missing)}", f"apt-get install {' '.join(packages)}")
    if missing:
        remedy = "apt-get install nvidia-l4t-gstreamer; in a container, use one of NVIDIA's l4t images"
        return note(f"no {', '.join(missing)}", remedy)
    return ok(f"all {len(wanted)} that sources use")


def _jetson_elements(root: Path) -> tuple[str, ...]:
    return _JETSON_ELEMENTS if is_jetson(root) else ()
