"""The roofline of a device, and what a graph needs of it: how near a model comes to what the hardware can do.

A run takes at least as long as its arithmetic at the device's peak rate, and at least as long as its bytes at
the device's bandwidth (Williams, Waterman and Patterson 2009). Peak and bandwidth are measured, or given from
a data sheet.

A graph's operators, multiply-accumulates and bytes are those that ONNX Runtime sees: it runs the graph once
without optimisation, and its profile gives every node with the shapes of its tensors; so nothing here has to
read ONNX.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.backend import LoadOptions
from ..backends.select import load_model
from ..contract import INPUT_NAME, Contract, Precision
from ..errors import BackendError
from .timing import synthetic_frame

PRODUCTS_MODEL = Path(__file__).parent / "assets" / "products.onnx"
_PRODUCT_MACS = 4 * 1024**3
_COPIED_BYTES = 1 << 27
_TRIES = 7

_BYTES_PER_ELEMENT: Mapping[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}
_INSERTED = "InsertedPrecisionFreeCast"  # ONNX Runtime's own, where a CPU has no fp16 kernel
_KERNEL = "_kernel_time"

_Shapes = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCost:
    """Work of one inference, for the smallest batch.

    Attributes:
        macs: multiply-accumulates of its convolutions and matrix products, padding counted in.
        bytes: bytes that these read and write at least, each tensor once, at the graph's precision.
        operators: number of nodes by operator.
    """

    macs: int
    bytes: int
    operators: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Node:
    operator: str
    inputs: _Shapes
    outputs: _Shapes

    @property
    def macs(self) -> int:
        if self.operator == "Conv":  # (N, M, h, w) from (N, C, H, W) by (M, C / group, kh, kw)
            return math.prod(self.outputs[0]) * math.prod(self.inputs[1][1:])
        if self.operator == "ConvTranspose":  # each cell of (N, C, h, w) meets (M / group, kh, kw) weights
            return math.prod(self.inputs[0]) * math.prod(self.inputs[1][1:])
        if self.operator in ("MatMul", "Gemm"):
            return math.prod(self.outputs[0]) * self.inputs[0][-1]
        return 0

    @property
    def elements(self) -> int:
        return sum(math.prod(shape) for shape in (*self.inputs, *self.outputs)) if self.macs else 0


def graph_cost(onnx_path: Path, contract: Contract) -> GraphCost:
    """Work of an ONNX file, from the profile of one inference on the CPU without optimisation.

    Raises:
        BackendError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "onnxruntime is not installed. Add it: pip install 'saliency-edge[onnxruntime]'"
        ) from error
    with tempfile.TemporaryDirectory(prefix="saliency-bench-") as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(onnx_path, options, providers=["CPUExecutionProvider"])
        frames = np.zeros((contract.batch[0], *contract.size_hw, 3), np.uint8)
        session.run(None, {INPUT_NAME: frames})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = _profiled_nodes(events)
    return GraphCost(
        macs=sum(node.macs for node in nodes),
        bytes=sum(node.elements for node in nodes) * _BYTES_PER_ELEMENT[contract.precision],
        operators=dict(sorted(Counter(node.operator for node in nodes).items())),
    )


def _profiled_nodes(events: Sequence[Mapping[str, Any]]) -> list[_Node]:
    return [
        _Node(
            operator=str(event["args"]["op_name"]),
            inputs=_shapes(event["args"]["input_type_shape"]),
            outputs=_shapes(event["args"]["output_type_shape"]),
        )
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL) and _INSERTED not in event["name"]
    ]


def _shapes(tensors: Sequence[Mapping[str, Sequence[int]]]) -> _Shapes:
    """Shapes in a profile's `[{"float": [1, 3, 240, 320]}, ...]`."""
    return [shape for tensor in tensors for shape in tensor.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Limits of a device.

    Attributes:
        tera_ops: peak rate in 10^12 operations per second; a multiply-accumulate is two.
        gigabytes_s: bandwidth of the memory in 10^9 bytes per second, read and written.
        origin: how both are known.
    """

    tera_ops: float
    gigabytes_s: float
    origin: str

    def least_s(self, cost: GraphCost) -> float:
        """Shortest possible time of one inference, in seconds."""
        return max(2 * cost.macs / (self.tera_ops * 1e12), cost.bytes / (self.gigabytes_s * 1e9))


def measure_roofline(
    threads: int | None, *, peak_tops: float | None = None, bandwidth_gb_s: float | None = None
) -> Roofline:
    """Measure what is not given: fp32 products through the same backend, and a copy by as many threads.

    Args:
        threads: CPU threads of one inference; None: one for each core.
        peak_tops: from a data sheet, in 10^12 operations per second; None: measured.
        bandwidth_gb_s: from a data sheet, in 10^9 bytes per second; None: measured.
    """
    count = threads or os.cpu_count() or 1
    origins = [
        "peak given" if peak_tops else "peak by fp32 matrix products",
        "bandwidth given" if bandwidth_gb_s else f"bandwidth by a copy of {count} threads",
    ]
    return Roofline(
        tera_ops=peak_tops or _matrix_product_tera_ops(threads),
        gigabytes_s=bandwidth_gb_s or _copy_gigabytes_s(count),
        origin=", ".join(origins),
    )


def _matrix_product_tera_ops(threads: int | None) -> float:
    with closing(load_model(PRODUCTS_MODEL, None, LoadOptions(threads=threads))) as engine:
        frames = synthetic_frame(engine.contract.size_hw)[np.newaxis]
        return 2 * _PRODUCT_MACS / _shortest_s(lambda: engine.infer(frames)) / 1e12


def _copy_gigabytes_s(threads: int) -> float:
    """Bandwidth of copying a block in as many parts as threads; numpy releases the GIL while it copies."""
    source, target = np.ones(_COPIED_BYTES, np.uint8), np.zeros(_COPIED_BYTES, np.uint8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        shortest_s = _shortest_s(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
    return 2 * _COPIED_BYTES / shortest_s / 1e9


def _shortest_s(work: Callable[[], object]) -> float:
    """Shortest of a few runs: a peak is what the device can do, not what other processes left of it."""
    durations_s = []
    for _ in range(_TRIES):
        start_s = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - start_s)
    return min(durations_s)
