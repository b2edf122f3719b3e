"""A check of the cameras that Video4Linux knows."""

from __future__ import annotations

import os
from pathlib import Path

from .finding import Finding, note, ok


def check_cameras(root: Path = Path("/")) -> Finding:
    """Look for /dev/video*, by the names that their drivers give, and for the right to open them."""
    devices = sorted(
        (root / "dev").glob("video[0-9]*"), key=lambda path: int(path.name.removeprefix("video"))
    )
    if not devices:
        remedy = "for camera:0, plug one in; in a container: docker run --device /dev/video0"
        return note("none at /dev/video*", remedy)
    found = ", ".join(f"{path.name} ({_name_of(path, root)})" for path in devices)
    closed = [path.name for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        return note(
            f"{found}; no right to open {', '.join(closed)}",
            "sudo usermod -aG video $USER, then log in again",
        )
    return ok(found)


def _name_of(device: Path, root: Path) -> str:
    path = root / "sys/class/video4linux" / device.name / "name"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else "no name"
