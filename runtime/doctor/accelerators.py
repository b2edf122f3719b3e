"""Checks of what computes: the GPU, TensorRT, ONNX Runtime."""

from __future__ import annotations

import re
from importlib.util import find_spec

from .ask import NoAnswerError, ask_python
from .finding import Finding, note, ok

_OLDEST_TENSORRT = (10, 3)
_OLDEST_CUDA_PYTHON = (12, 6)

_TENSORRT_MODULES = ("tensorrt", "tensorrt_lean")

_GPU_CODE = """
import dataclasses, json
from saliency_edge.runtime.machine import find_gpu
gpu = find_gpu()
print(json.dumps(dataclasses.asdict(gpu) if gpu else {}))
"""
_VERSION_CODE = "import json, {module}; print(json.dumps({{'version': {module}.__version__}}))"
_PROVIDERS_CODE = """
import json, onnxruntime
providers = onnxruntime.get_available_providers()
print(json.dumps({"version": onnxruntime.__version__, "providers": providers}))
"""
_CUDA_CODE = """
import json
from importlib.metadata import version
import cuda.bindings.driver
print(json.dumps({"version": version("cuda-bindings")}))
"""


def check_gpu() -> Finding:
    """Look for an NVIDIA GPU and its driver."""
    gpu = ask_python(_GPU_CODE)
    if not gpu:
        return note(
            "no NVIDIA GPU, or no driver", "models run on the CPU; in a container: docker run --gpus all"
        )
    kind = "shares memory with the CPU" if gpu["integrated"] else "memory of its own"
    return ok(
        f"{gpu['name']}, compute capability {gpu['compute_capability']}, {kind}, driver {gpu['driver']}"
    )


def check_tensorrt() -> Finding:
    """Look at TensorRT, whole or lean."""
    module = next((name for name in _TENSORRT_MODULES if _is_installed(name)), None)
    if module is None:
        return note(
            "not installed",
            "for .engine files: pip install 'saliency-edge[tensorrt]'; on a Jetson it comes with JetPack: "
            "make the environment with --system-site-packages",
        )
    version = str(ask_python(_VERSION_CODE.format(module=module))["version"])
    if _numbers(version) < _OLDEST_TENSORRT:
        return note(f"{module} {version}", "10.3 is the oldest supported; on a Jetson, move to JetPack 6.1")
    return ok(f"{module} {version}")


def check_tensorrt_rtx() -> Finding:
    """Look at TensorRT-RTX."""
    if not _is_installed("tensorrt_rtx"):
        return note("not installed", "for engines of GeForce and RTX GPUs: pip install 'saliency-edge[rtx]'")
    return ok(str(ask_python(_VERSION_CODE.format(module="tensorrt_rtx"))["version"]))


def check_cuda_python() -> Finding:
    """Look at cuda-python, which runs TensorRT's engines."""
    if find_spec("cuda") is None:
        return note("not installed", "for .engine files: pip install 'cuda-python>=12.6'")
    version = str(ask_python(_CUDA_CODE)["version"])
    if _numbers(version) < _OLDEST_CUDA_PYTHON:
        return note(version, "for .engine files: pip install 'cuda-python>=12.6'")
    return ok(version)


def check_onnxruntime() -> Finding:
    """Look at ONNX Runtime, which runs bundles on any machine."""
    remedy = "for bundles and .onnx files: pip install 'saliency-edge[onnxruntime]'"
    if not _is_installed("onnxruntime"):
        return note("not installed", remedy)
    try:
        answer = ask_python(_PROVIDERS_CODE)
    except NoAnswerError as error:
        return note(f"cannot be imported: {error}", remedy)
    names = (name.removesuffix("ExecutionProvider") for name in answer["providers"])
    return ok(f"{answer['version']}, built for {', '.join(names)}")


def _is_installed(module: str) -> bool:
    """Look for a module's own file: an uninstalled package may leave an empty folder, which imports too."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


def _numbers(version: str) -> tuple[int, ...]:
    """Give the leading numbers of a version: 10.3 for `10.3.0.26`."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
