"""What machine this is: GPU, driver, operating system. Engines are bound to it, receipts name it.

The GPU is asked through the CUDA driver API (docs.nvidia.com/cuda/cuda-driver-api), which needs no package.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

_DRIVER_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
_DRIVER_VERSION_FILE = Path("/sys/module/nvidia/version")
_NAME_BYTES = 256
# CUdevice_attribute
_INTEGRATED = 18
_CAPABILITY_MAJOR = 75
_CAPABILITY_MINOR = 76


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """The first CUDA device.

    Attributes:
        name: as the driver gives it, such as `Orin`.
        compute_capability: such as `8.7`.
        integrated: whether it shares its memory with the CPU, as a Jetson's does.
        driver: the driver's version where the system tells it, and the CUDA version that it brings.
    """

    name: str
    compute_capability: str
    integrated: bool
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine that an engine is built on.

    Attributes:
        gpu: None where there is none, or no driver.
        system: kind of operating system, such as `Linux`.
        os: its name and version.
        architecture: of the processor, such as `aarch64`.
        power_mode: a Jetson's, such as `MAXN`; None elsewhere.
    """

    gpu: Gpu | None
    system: str
    os: str
    architecture: str
    power_mode: str | None


def this_machine() -> Machine:
    """Look at the machine that this runs on."""
    return Machine(
        gpu=find_gpu(),
        system=platform.system(),
        os=_os_name(),
        architecture=platform.machine(),
        power_mode=_power_mode(),
    )


def tensorrt_installation(variant: Literal["rtx", "tensorrt"], architecture: str = "") -> str | None:
    """How a TensorRT variant gets onto a machine, for remedies.

    NVIDIA publishes TensorRT-RTX for x86_64 alone. A Jetson's TensorRT comes with JetPack, as packages of the
    system's own Python; what pip finds under that name for aarch64 is built for servers.

    Args:
        variant: TensorRT or TensorRT-RTX.
        architecture: of the processor, as `platform.machine` names it; this machine's by default.

    Returns:
        A command, or where it comes from; None where the variant does not exist for that processor.
    """
    if (architecture or platform.machine()) != "aarch64":
        return f"pip install 'saliency-edge[{variant}]'"
    if variant == "rtx":
        return None
    return (
        "on a Jetson JetPack's own, in an environment made with JetPack's own Python: "
        "/usr/bin/python3 -m venv --system-site-packages"
    )


@cache
def processor() -> str:
    """Name the processor so that two that compute differently have two names.

    The model's name is not enough: virtual machines hide it, and clouds give one name to many. So the number
    of cores that this process may use and a digest of the instruction sets go with it.
    """
    return f"{_cpu_name()}, {usable_cores()} cores, features {_digest(cpu_features())}"


@cache
def cpu_features() -> frozenset[str]:
    """Instruction sets as Linux names them, such as `avx512_bf16` or `asimdhp`; empty where unknown."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _cpu_info(), re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_folder() -> Path:
    """Where this user keeps what can be made again (XDG base directory specification); it may not exist."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(chosen) if Path(chosen).is_absolute() else Path(os.path.expanduser("~/.cache"))  # noqa: PTH111
    return root / "saliency-edge"


def _cpu_name() -> str:
    info = _cpu_info()
    name = re.search(r"^(?:model name|Model)\s*:\s*(.*)$", info, re.MULTILINE)
    if name:
        return name[1].strip()
    parts = sorted(set(re.findall(r"^CPU (?:implementer|part)\s*:\s*(\w+)$", info, re.MULTILINE)))
    return " ".join([platform.machine(), *parts])  # Arm gives numbers for names


@cache
def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()[:8]


def find_gpu() -> Gpu | None:
    """Ask the CUDA driver for its first device; None without a driver or a device."""
    cuda = _load_driver()
    if cuda is None or cuda.cuInit(0) != 0:
        return None
    device, version = ctypes.c_int(), ctypes.c_int()
    if cuda.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    name = ctypes.create_string_buffer(_NAME_BYTES)
    cuda.cuDeviceGetName(name, _NAME_BYTES, device)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    major, minor = (_attribute(cuda, which, device) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    return Gpu(
        name=name.value.decode(),
        compute_capability=f"{major}.{minor}",
        integrated=_attribute(cuda, _INTEGRATED, device) == 1,
        driver=_driver_text(version.value),
    )


def _load_driver() -> ctypes.CDLL | None:
    for library in _DRIVER_LIBRARIES:
        try:
            return ctypes.CDLL(library)
        except OSError:
            continue
    return None


def _attribute(cuda: ctypes.CDLL, which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


def _driver_text(cuda_version: int) -> str:
    """`560.35.03, CUDA 12.6` for 12060."""
    cuda = f"CUDA {cuda_version // 1000}.{cuda_version % 1000 // 10}"
    if not _DRIVER_VERSION_FILE.is_file():
        return cuda
    return f"{_DRIVER_VERSION_FILE.read_text(encoding='utf-8').strip()}, {cuda}"


def _os_name() -> str:
    try:
        release: Mapping[str, str] = platform.freedesktop_os_release()
    except OSError:
        return platform.platform()
    return release.get("PRETTY_NAME", platform.platform())


def _power_mode() -> str | None:
    """Ask a Jetson's nvpmodel, whose answer reads `NV Power Mode: MAXN` and a number on the next line."""
    tool = shutil.which("nvpmodel")
    if tool is None:
        return None
    try:
        answer = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (line for line in answer.splitlines() if "Power Mode:" in line)
    return next((line.split(":", 1)[1].strip() for line in lines), None)
