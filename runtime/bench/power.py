"""Power, clocks and device memory while a model runs, where the board tells.

A Jetson's INA3221 sensors lie in sysfs (Jetson Linux Developer Guide, "Platform Power and Performance"): a
rail has a label, millivolts and milliamperes. A discrete GPU is asked through nvidia-smi.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

Reading = Mapping[str, float]
"""Values by name: `power_w`, `gpu_mhz`, `device_memory_mib`, `cpu_mhz`, those that there are."""

_SYSFS = Path("/sys")
_INA_RAILS = "bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/in*_label"
_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")  # the board's input; without one, rails are summed
_GPU_CLOCKS = tuple(f"class/devfreq/{name}/cur_freq" for name in ("*gpu*", "*.ga10b", "*.gv11b"))
_CPU_CLOCKS = "devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"
_NVIDIA_SMI_FIELDS = {"power.draw": "power_w", "clocks.sm": "gpu_mhz", "memory.used": "device_memory_mib"}
_SECONDS_BETWEEN_READINGS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardUse:
    """What the board told while a block ran; empty where it tells nothing.

    Attributes:
        means: of each value, over the readings.
        readings: how many there were.
    """

    means: Mapping[str, float]
    readings: int


@contextmanager
def watched(read: Callable[[], Reading]) -> Iterator[Callable[[], BoardUse]]:
    """Read the board twice a second while the block runs, in a thread that sleeps in between.

    Args:
        read: gives one reading.
    """
    readings: list[Reading] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS_BETWEEN_READINGS):
            readings.append(read())

    thread = threading.Thread(target=watch, name="board", daemon=True)
    thread.start()
    try:
        yield lambda: _mean_of(readings)
    finally:
        ended.set()
        thread.join()


def read_board(sysfs: Path = _SYSFS) -> Reading:
    """Read what the board tells now.

    Args:
        sysfs: where sysfs is mounted.
    """
    values = {**_of_nvidia_smi(), **_clocks_of(sysfs)}
    watts = _ina_watts(sysfs)
    return {**values, "power_w": watts} if watts is not None else values


def _ina_watts(sysfs: Path) -> float | None:
    """Give the board's input power, or the sum of its rails where the input has no sensor."""
    rails = {}
    for label in sorted(sysfs.glob(_INA_RAILS)):
        number = label.name.removeprefix("in").removesuffix("_label")
        millivolts = _number_in(label.with_name(f"in{number}_input"))
        milliamperes = _number_in(label.with_name(f"curr{number}_input"))
        if millivolts is not None and milliamperes is not None:
            rails[label.read_text(encoding="ascii").strip()] = millivolts * milliamperes * 1e-6
    whole = [rails[name] for name in _WHOLE_BOARD if name in rails]
    return whole[0] if whole else (sum(rails.values()) if rails else None)


def _clocks_of(sysfs: Path) -> dict[str, float]:
    gpu_hz = [_number_in(path) for pattern in _GPU_CLOCKS for path in sysfs.glob(pattern)]
    cpu_khz = [_number_in(path) for path in sysfs.glob(_CPU_CLOCKS)]
    clocks = {
        "gpu_mhz": [value / 1e6 for value in gpu_hz if value is not None],
        "cpu_mhz": [value / 1e3 for value in cpu_khz if value is not None],
    }
    return {name: max(values) for name, values in clocks.items() if values}


def _of_nvidia_smi() -> dict[str, float]:
    """Ask nvidia-smi about the first GPU; a field that it does not know reads `[N/A]`."""
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


def _number_in(path: Path) -> float | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return float(text) if _is_number(text) else None


def _is_number(text: str) -> bool:
    return text.strip().replace(".", "", 1).isdigit()


def _mean_of(readings: Sequence[Reading]) -> BoardUse:
    names = sorted({name for reading in readings for name in reading})
    means = {name: fmean(reading[name] for reading in readings if name in reading) for name in names}
    return BoardUse(means=means, readings=len(readings))
