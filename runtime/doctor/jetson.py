"""Checks of what only a Jetson has: JetPack, power mode, clocks."""

from __future__ import annotations

import re
from pathlib import Path

from ..machine import this_machine
from .finding import Finding, note, ok

_RELEASE_FILE = "etc/nv_tegra_release"
_OLDEST_L4T = (36, 4)  # JetPack 6.1
_NOT_A_JETSON = "not a Jetson"
# Lowest and highest frequency that the kernel may choose, of the CPU's cores and of the GPU.
_CLOCKS = {
    "CPU": ("sys/devices/system/cpu/cpu[0-9]*/cpufreq", "scaling_min_freq", "scaling_max_freq"),
    "GPU": ("sys/class/devfreq/*gpu*", "min_freq", "max_freq"),
}


def is_jetson(root: Path = Path("/")) -> bool:
    """Tell whether this is NVIDIA's system for Jetsons."""
    return (root / _RELEASE_FILE).is_file()


def check_jetpack(root: Path = Path("/")) -> Finding:
    """Look at the version of Jetson Linux, such as `# R36 (release), REVISION: 4.3, GCID: ...`."""
    if not is_jetson(root):
        return ok(_NOT_A_JETSON)
    text = (root / _RELEASE_FILE).read_text(encoding="utf-8")
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+)(\.\d+)?", text)
    if found is None:
        return note(f"cannot be told from /{_RELEASE_FILE}", "JetPack 6.1 is the oldest supported")
    name = f"Jetson Linux {found[1]}.{found[2]}{found[3] or ''}"
    if (int(found[1]), int(found[2])) < _OLDEST_L4T:
        return note(name, "its TensorRT is older than 10.3: move to JetPack 6.1 (Jetson Linux 36.4) or later")
    return ok(name)


def check_power_mode(root: Path = Path("/")) -> Finding:
    """Look at a Jetson's power mode."""
    if not is_jetson(root):
        return ok(_NOT_A_JETSON)
    mode = this_machine().power_mode
    if mode is None:
        return note(
            "nvpmodel does not tell", "look at it on the device, outside of the container: nvpmodel -q"
        )
    if "MAXN" not in mode:
        return note(mode, "for full speed: sudo nvpmodel -m with MAXN's number, see nvpmodel -p --verbose")
    return ok(mode)


def check_clocks(root: Path = Path("/")) -> Finding:
    """Look at whether a Jetson's clocks are held at their highest, as `jetson_clocks` does."""
    if not is_jetson(root):
        return ok(_NOT_A_JETSON)
    varying = [name for name, places in _CLOCKS.items() if _varies(root, *places)]
    if varying:
        return note(f"{' and '.join(varying)} may slow down", "before you measure: sudo jetson_clocks")
    return ok("held at their highest")


def _varies(root: Path, folders: str, lowest: str, highest: str) -> bool:
    return any(_hertz(folder / lowest) != _hertz(folder / highest) for folder in root.glob(folders))


def _hertz(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
