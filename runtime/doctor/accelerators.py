"""Checks of what computes: backends (ONNX Runtime, OpenVINO, TensorRT), the GPU, and a Jetson's settings."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..machine import tensorrt_installation, this_machine
from .findings import Finding, NoAnswerError, note, ok, query_python

_OLDEST_TENSORRT = (10, 3)
_OLDEST_CUDA_PYTHON = (12, 6)
_TENSORRT_MODULES = ("tensorrt", "tensorrt_lean")
_NO_GPU = "not installed, not needed without an NVIDIA GPU"
_CUDA_PYTHON_REMEDY = "for .engine files: pip install 'cuda-python>=12.6'"

_GPU_CODE = """
import dataclasses, json
from saliency_edge.runtime.machine import find_gpu
gpu = find_gpu()
print(json.dumps(dataclasses.asdict(gpu) if gpu else {}))
"""
_VERSION_CODE = "import json, {module}; print(json.dumps({{'version': {module}.__version__}}))"
_ONNXRUNTIME_CODE = """
import json, onnxruntime
providers = onnxruntime.get_available_providers()
print(json.dumps({"version": onnxruntime.__version__, "providers": providers}))
"""
_OPENVINO_CODE = """
import json, openvino
devices = openvino.Core().available_devices
print(json.dumps({"version": openvino.__version__.partition("-")[0], "devices": devices}))
"""
_CUDA_CODE = """
import json
from importlib.metadata import version
import cuda.bindings.driver
print(json.dumps({"version": version("cuda-bindings")}))
"""

_RELEASE_FILE = "etc/nv_tegra_release"
_OLDEST_L4T = (36, 4)  # JetPack 6.1
_NOT_A_JETSON = "not a Jetson"
# Lowest and highest frequency that the kernel may choose, of the CPU's cores and of the GPU.
_CLOCKS = {
    "CPU": ("sys/devices/system/cpu/cpu[0-9]*/cpufreq", "scaling_min_freq", "scaling_max_freq"),
    "GPU": ("sys/class/devfreq/*gpu*", "min_freq", "max_freq"),
}


def check_onnxruntime() -> Finding:
    """Version of ONNX Runtime, which runs bundles on any machine, and the devices that it was built for."""
    remedy = "for bundles and .onnx files: pip install 'saliency-edge[onnxruntime]'"
    if not _is_installed("onnxruntime"):
        return note("not installed", remedy)
    try:
        answer = query_python(_ONNXRUNTIME_CODE, module="onnxruntime")
    except NoAnswerError as error:
        return _not_importable(error, remedy)
    names = (name.removesuffix("ExecutionProvider") for name in answer["providers"])
    return ok(f"{answer['version']}, built for {', '.join(names)}")


def check_openvino() -> Finding:
    """Version of OpenVINO, the fastest backend on most processors, and the devices that it finds."""
    remedy = "the fastest backend without an NVIDIA GPU: pip install 'saliency-edge[openvino]'"
    if not _is_installed("openvino"):
        return (
            ok("not installed, not needed beside an NVIDIA GPU")
            if _has_gpu()
            else note("not installed", remedy)
        )
    try:
        answer = query_python(_OPENVINO_CODE, module="openvino")
    except NoAnswerError as error:
        return _not_importable(error, remedy)
    return ok(f"{answer['version']}, finds {', '.join(answer['devices'])}")


def check_gpu() -> Finding:
    """Name, compute capability and driver of the first NVIDIA GPU."""
    gpu = _query_gpu()
    if not gpu:
        return note(
            "no NVIDIA GPU, or no driver", "models run on the CPU; in a container: docker run --gpus all"
        )
    kind = "shares memory with the CPU" if gpu["integrated"] else "memory of its own"
    return ok(
        f"{gpu['name']}, compute capability {gpu['compute_capability']}, {kind}, driver {gpu['driver']}"
    )


def check_tensorrt() -> Finding:
    """Version of TensorRT, whole or lean."""
    module = next((name for name in _TENSORRT_MODULES if _is_installed(name)), None)
    if module is None:
        if not _has_gpu():
            return ok(_NO_GPU)
        return note("not installed", f"for .engine files: {tensorrt_installation('tensorrt')}")
    version = str(query_python(_VERSION_CODE.format(module=module), module=module)["version"])
    if _leading_numbers(version) < _OLDEST_TENSORRT:
        return note(f"{module} {version}", "10.3 is the oldest supported; on a Jetson, move to JetPack 6.1")
    return ok(f"{module} {version}")


def check_tensorrt_rtx() -> Finding:
    """Version of TensorRT-RTX."""
    if _is_installed("tensorrt_rtx"):
        code = _VERSION_CODE.format(module="tensorrt_rtx")
        return ok(str(query_python(code, module="tensorrt_rtx")["version"]))
    command = tensorrt_installation("rtx")
    if command is None:
        return ok(f"does not exist for {platform.machine()}")
    return note("not installed", f"to build engines for GeForce and RTX GPUs: {command}")


def check_cuda_python() -> Finding:
    """Version of cuda-python, through which TensorRT's engines run."""
    if find_spec("cuda") is None:
        return note("not installed", _CUDA_PYTHON_REMEDY) if _has_gpu() else ok(_NO_GPU)
    version = str(query_python(_CUDA_CODE, module="cuda.bindings.driver")["version"])
    if _leading_numbers(version) < _OLDEST_CUDA_PYTHON:
        return note(version, _CUDA_PYTHON_REMEDY)
    return ok(version)


def is_jetson(root: Path = Path("/")) -> bool:
    """Whether this is NVIDIA's system for Jetsons."""
    return (root / _RELEASE_FILE).is_file()


def check_jetpack(root: Path = Path("/")) -> Finding:
    """Version of Jetson Linux, from a line such as `# R36 (release), REVISION: 4.3, GCID: ...`."""
    if not is_jetson(root):
        return ok(_NOT_A_JETSON)
    text = (root / _RELEASE_FILE).read_text(encoding="utf-8")
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+)(\.\d+)?", text)
    if found is None:
        return note(f"unknown: /{_RELEASE_FILE} names no release", "JetPack 6.1 is the oldest supported")
    name = f"Jetson Linux {found[1]}.{found[2]}{found[3] or ''}"
    if (int(found[1]), int(found[2])) < _OLDEST_L4T:
        return note(name, "its TensorRT is older than 10.3: move to JetPack 6.1 (Jetson Linux 36.4) or later")
    return ok(name)


def check_power_mode(root: Path = Path("/")) -> Finding:
    """Power mode of a Jetson."""
    if not is_jetson(root):
        return ok(_NOT_A_JETSON)
    mode = this_machine().power_mode
    if mode is None:
        return note("unknown: nvpmodel does not tell", "on the device, outside of the container: nvpmodel -q")
    if "MAXN" not in mode:
        return note(mode, "for full speed: sudo nvpmodel -m with MAXN's number, see nvpmodel -p --verbose")
    return ok(mode)


def check_clocks(root: Path = Path("/")) -> Finding:
    """Whether a Jetson's clocks are fixed at their maximum, as `jetson_clocks` does."""
    if not is_jetson(root):
        return ok(_NOT_A_JETSON)
    varying = [
        name
        for name, (folders, lowest, highest) in _CLOCKS.items()
        if any(_hertz(folder / lowest) != _hertz(folder / highest) for folder in root.glob(folders))
    ]
    if varying:
        return note(f"{' and '.join(varying)} may slow down", "before you measure: sudo jetson_clocks")
    return ok("fixed at their maximum")


def _hertz(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


@cache
def _query_gpu() -> Mapping[str, Any]:
    """Fields of `machine.Gpu`; empty without a GPU."""
    return query_python(_GPU_CODE, module="libcuda")


def _has_gpu() -> bool:
    """Whether there is an NVIDIA GPU; False where its driver gives no answer, which `check_gpu` reports."""
    try:
        return bool(_query_gpu())
    except NoAnswerError:
        return False


def _not_importable(error: NoAnswerError, remedy: str) -> Finding:
    """The finding about an installed backend whose import fails; raises a time-out again."""
    if not error.is_failure:
        raise error
    return note(f"cannot be imported: {error}", error.remedy or remedy)


def _is_installed(module: str) -> bool:
    """Whether a module has a file: an uninstalled package may leave an empty folder, which imports too."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


def _leading_numbers(version: str) -> tuple[int, ...]:
    """First two numbers of a version: (10, 3) for `10.3.0.26`."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
