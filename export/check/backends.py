"""Implementations of ONNX, each written by others: a sound model gives the same maps in all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.backends.onnxruntime_backend import FATAL_ONLY
from ...runtime.contract import INPUT_NAME, OUTPUT_NAME, PRECISIONS, Precision
from ..frames import in_batches

Runner: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A loaded model: frames (N, H, W, 3) to maps (N, h, w)."""

_OPTIMISATIONS = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One implementation.

    Attributes:
        name: of it, and of what is special about this run.
        load: loads an `.onnx` file; raises whatever the implementation raises.
        required: whether a refusal is a failure; the others may lack an operator.
        precisions: that it computes in bearable time.
        most_frames: that it computes in bearable time; None for all.
        module: that must be installed; None where it always is.
        judges_int8: whether the int8 gate of an export runs the finished graph in it.
    """

    name: str
    load: Callable[[Path], Runner]
    required: bool = False
    precisions: Sequence[Precision] = PRECISIONS
    most_frames: int | None = None
    module: str | None = None
    judges_int8: bool = False

    def why_not(self, precision: Precision) -> str | None:
        """Say why it does not run models of a precision here; None where it does."""
        if self.module is not None and find_spec(self.module) is None:
            return f"{self.module} is not installed"
        if precision not in self.precisions:
            return f"it takes minutes for a frame in {precision}"
        return None


def backends() -> tuple[Backend, ...]:
    """Give all implementations, those that are required first."""
    onnxruntime = [
        Backend(
            name=f"ONNX Runtime, optimisation {level}",
            load=partial(_onnxruntime, level),
            required=True,
            judges_int8=level in ("off", "all"),
        )
        for level in _OPTIMISATIONS
    ]
    return (
        *onnxruntime,
        # It computes with numpy, which convolves half precision number by number.
        Backend(name="ONNX reference evaluator", load=_reference, precisions=("fp32",), most_frames=1),
        Backend(name="OpenCV DNN", load=_opencv, judges_int8=True),
        Backend(name="OpenVINO", load=_openvino, module="openvino", judges_int8=True),
    )


def batched_maps(run: Runner, pixels: NDArray[np.uint8], batch: tuple[int, int]) -> NDArray[np.float32]:
    """Run frames, (K, H, W, 3), through a loaded model in batches; one map for each frame."""
    return np.concatenate([run(frames) for frames in in_batches(pixels, batch)])[: len(pixels)]


def _onnxruntime(level: str, path: Path) -> Runner:
    """Open it as anyone would: `open_session` sets for itself what is optimised, and fuses no Q/DQ nodes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _OPTIMISATIONS[level])
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda frames: session.run([OUTPUT_NAME], {INPUT_NAME: frames})[0]


def _reference(path: Path) -> Runner:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    return lambda frames: np.asarray(*evaluator.run([OUTPUT_NAME], {INPUT_NAME: frames}))


def _opencv(path: Path) -> Runner:
    """OpenCV's graphs keep the batch that they saw first, so each frame goes through alone."""
    network = cv2.dnn.readNetFromONNX(str(path))

    def run(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        maps = []
        for frame in frames:
            network.setInput(frame[None])
            maps.append(network.forward().copy())
        return np.concatenate(maps).astype(np.float32, copy=False)

    return run


def _openvino(path: Path) -> Runner:
    """On the CPU and in the file's own precision: OpenVINO would choose bfloat16 where there is AMX."""
    from ...runtime.backends.openvino_backend import openvino_core

    core = openvino_core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda frames: compiled({INPUT_NAME: frames})[OUTPUT_NAME]
