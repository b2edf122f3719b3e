"""What a graph has to compute: its operators, multiply-accumulates and bytes, as ONNX Runtime sees them.

ONNX Runtime runs the graph once as it is written, without optimisation, and its profile gives every node with
the shapes of its tensors; so nothing here has to read ONNX.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contract import INPUT_NAME, Contract, Precision
from ..errors import BackendError

_BYTES_OF: Mapping[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}
_INSERTED = "InsertedPrecisionFreeCast"  # ONNX Runtime's own, where a CPU has no fp16 kernel
_KERNEL = "_kernel_time"

_Shapes = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCost:
    """What one run of the graph takes, for its smallest batch.

    Attributes:
        macs: multiply-accumulates of its convolutions and matrix products, padding counted in.
        bytes: that these read and write at the least, each tensor once, at the graph's precision.
        operators: how many nodes of each kind there are.
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
    """Count what an ONNX file computes; one inference without optimisation, on the CPU.

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
    return _cost_of(_nodes_in(events), contract.precision)


def _cost_of(nodes: Sequence[_Node], precision: Precision) -> GraphCost:
    return GraphCost(
        macs=sum(node.macs for node in nodes),
        bytes=sum(node.elements for node in nodes) * _BYTES_OF[precision],
        operators=dict(sorted(Counter(node.operator for node in nodes).items())),
    )


def _nodes_in(events: Sequence[Mapping[str, Any]]) -> list[_Node]:
    return [
        _Node(
            operator=str(event["args"]["op_name"]),
            inputs=_shapes_of(event["args"]["input_type_shape"]),
            outputs=_shapes_of(event["args"]["output_type_shape"]),
        )
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL) and _INSERTED not in event["name"]
    ]


def _shapes_of(tensors: Sequence[Mapping[str, Sequence[int]]]) -> _Shapes:
    """Take the shapes out of `[{"float": [1, 3, 240, 320]}, ...]`."""
    return [shape for tensor in tensors for shape in tensor.values()]
