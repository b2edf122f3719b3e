"""On what machine figures were taken."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..machine import this_machine

_CPU_INFO = Path("/proc/cpuinfo")

KIND = ("cpu", "cores", "architecture", "gpu", "power_mode", "threads")
"""What makes two machines one kind: baselines hold among these."""


def host(threads: int | None) -> dict[str, Any]:
    """Describe this machine, as plain JSON values.

    Args:
        threads: that compute one inference on the CPU; None: one for each core.
    """
    machine = this_machine()
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "architecture": machine.architecture,
        "gpu": asdict(machine.gpu) if machine.gpu else None,
        "power_mode": machine.power_mode,
        "threads": threads,
        "os": machine.os,
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    """Give the processor's name where Linux tells it."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"(?m)^(?:model name|Model)\s*:\s*(.+)$", text)
    return found[1] if found else platform.processor()
