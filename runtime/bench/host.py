"""The machine that figures are taken on: its description, a process's memory, the board's power and clocks.

A Jetson's INA3221 sensors lie in sysfs (Jetson Linux Developer Guide, "Platform Power and Performance"): a
rail has a label, millivolts and milliamperes. A discrete GPU is queried through nvidia-smi.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ..machine import this_machine

MACHINE_KIND = ("cpu", "cores", "architecture", "gpu", "power_mode", "threads")
"""Fields of `describe_host` that two machines of one kind share; baselines hold among these."""

Reading = Mapping[str, float]
"""Values by name, those that there are: `power_w`, `gpu_mhz`, `device_memory_mib`, `cpu_mhz`."""

_CPU_INFO = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")
_STATM = Path("/proc/self/statm")
_SYSFS = Path("/sys")
_INA_RAILS = "bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/in*_label"
_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")  # the board's input; without one, rails are summed
_GPU_CLOCKS = tuple(f"class/devfreq/{name}/cur_freq" for name in ("*gpu*", "*.ga10b", "*.gv11b"))
_CPU_CLOCKS = "devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"
_NVIDIA_SMI_FIELDS = {"power.draw": "power_w", "clocks.sm": "gpu_mhz", "memory.used": "device_memory_mib"}
_SECONDS_BETWEEN_READINGS = 0.5


def describe_host(threads: int | None) -> dict[str, Any]:
    """Processor, GPU, operating system and Python of this machine, as plain JSON values.

    Args:
        threads: CPU threads of one inference; None: one for each core.
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
    try:
        text = _CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"(?m)^(?:model name|Model)\s*:\s*(.+)$", text)
    return found[1] if found else platform.processor()


def resident_bytes() -> int | None:
    """Resident memory of this process now, in bytes; None where the system does not tell."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes() -> int | None:
    """Largest resident memory that this process ever had, in bytes; None where the system does not tell."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardStatistics:
    """Readings of the board's sensors over some time.

    Attributes:
        means: mean of each value; empty where the board tells nothing.
        readings: number of readings.
    """

    means: Mapping[str, float]
    readings: int


def read_board(sysfs: Path = _SYSFS) -> Reading:
    """Power, clocks and device memory now, as far as the board tells.

    Args:
        sysfs: where sysfs is mounted.
    """
    values = {**_nvidia_smi_values(), **_clocks_mhz(sysfs)}
    watts = _ina_watts(sysfs)
    return {**values, "power_w": watts} if watts is not None else values


@contextmanager
def monitor_board(read: Callable[[], Reading] = read_board) -> Iterator[Callable[[], BoardStatistics]]:
    """Read the board's sensors twice a second in a thread while the block runs.

    Args:
        read: takes one reading.

    Yields:
        A function that gives the statistics of all readings so far.
    """
    readings: list[Reading] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SECONDS_BETWEEN_READINGS):
            readings.append(read())

    def statistics() -> BoardStatistics:
        names = sorted({name for reading in readings for name in reading})
        means = {name: fmean(reading[name] for reading in readings if name in reading) for name in names}
        return BoardStatistics(means=means, readings=len(readings))

    thread = threading.Thread(target=sample, name="board", daemon=True)
    thread.start()
    try:
        yield statistics
    finally:
        ended.set()
        thread.join()


def _ina_watts(sysfs: Path) -> float | None:
    """Power of the board's input, or the sum of its rails where the input has no sensor."""
    rails = {}
    for label in sorted(sysfs.glob(_INA_RAILS)):
        number = label.name.removeprefix("in").removesuffix("_label")
        millivolts = _read_number(label.with_name(f"in{number}_input"))
        milliamperes = _read_number(label.with_name(f"curr{number}_input"))
        if millivolts is not None and milliamperes is not None:
            rails[label.read_text(encoding="ascii").strip()] = millivolts * milliamperes * 1e-6
    whole = [rails[name] for name in _WHOLE_BOARD if name in rails]
    return whole[0] if whole else (sum(rails.values()) if rails else None)


def _clocks_mhz(sysfs: Path) -> dict[str, float]:
    gpu_hz = [_read_number(path) for pattern in _GPU_CLOCKS for path in sysfs.glob(pattern)]
    cpu_khz = [_read_number(path) for path in sysfs.glob(_CPU_CLOCKS)]
    clocks = {
        "gpu_mhz": [value / 1e6 for value in gpu_hz if value is not None],
        "cpu_mhz": [value / 1e3 for value in cpu_khz if value is not None],
    }
    return {name: max(values) for name, values in clocks.items() if values}


def _nvidia_smi_values() -> dict[str, float]:
    """Values of the first GPU; a field that nvidia-smi does not know reads `[N/A]` and is left out."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    command = [tool, f"--query-gpu={','.join(_NVIDIA_SMI_FIELDS)}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    fields = done.stdout.strip().split(",") if done.returncode == 0 else []
    named = zip(_NVIDIA_SMI_FIELDS.values(), fields, strict=False)
    return {name: float(field) for name, field in named if _is_number(field)}


def _read_number(path: Path) -> float | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return float(text) if _is_number(text) else None


def _is_number(text: str) -> bool:
    return text.strip().replace(".", "", 1).isdigit()
