"""How large the fp32 graph's tensors become on real frames: what would come near fp16's limit of 65504.

The maxima are taken by nodes put into the graph, so memory stays that of one inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.contract import INPUT_NAME, Contract
from ..runtime.progress import progress
from .frames import in_batches
from .ort_session import cpu_session

if TYPE_CHECKING:
    import onnx

FP16_MAX = float(np.finfo(np.float16).max)
NEAR_SHARE = 0.25
"""From this share of fp16's limit on, a tensor stays fp32: frames that were not scanned may reach further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeScan:
    """What was seen.

    Attributes:
        frames: how many were scanned.
        max_abs: of each float tensor, by its name, in the graph's order.
        squares: bound of the sums of squares inside LRN nodes, by the node's name.
    """

    frames: int
    max_abs: Mapping[str, float]
    squares: Mapping[str, float]

    def largest(self) -> tuple[str, float]:
        """Give the network's largest tensor and its maximum; the input's 255 say nothing."""
        own = [item for item in self.max_abs.items() if not item[0].startswith("input.")]
        return max(own, key=lambda item: item[1])

    def near(self) -> dict[str, float]:
        """Give the tensors that come near fp16's limit."""
        return {name: value for name, value in self.max_abs.items() if value >= NEAR_SHARE * FP16_MAX}

    def near_squares(self) -> dict[str, float]:
        """Give the LRN nodes whose sums of squares come near fp16's limit."""
        return {name: value for name, value in self.squares.items() if value >= NEAR_SHARE * FP16_MAX}


def scan_ranges(model: onnx.ModelProto, contract: Contract, pixels: NDArray[np.uint8]) -> RangeScan:
    """Run the fp32 graph on frames and take each float tensor's largest absolute value.

    Args:
        model: the fp32 graph; it stays as it is.
        contract: its contract.
        pixels: (K, H, W, 3) BGR, at the network's size.
    """
    names = _float_tensors(model)
    session = cpu_session(_observed(model, names))
    extremes = np.zeros(len(names), np.float32)
    batches = in_batches(pixels, (contract.batch[0], contract.batch[0]))
    with progress("range scan", len(batches)) as advance:
        for frames in batches:
            found = np.abs(session.run(None, {INPUT_NAME: frames})).reshape(len(names), 2)
            extremes = np.maximum(extremes, found.max(axis=1))
            advance()
    max_abs = {name: float(value) for name, value in zip(names, extremes, strict=True)}
    return RangeScan(frames=len(pixels), max_abs=max_abs, squares=_squares(model, max_abs))


def _float_tensors(model: onnx.ModelProto) -> list[str]:
    """Name the float tensors that nodes make, in the graph's order."""
    import onnx

    values = (*model.graph.value_info, *model.graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return [name for node in model.graph.node for name in node.output if name in floats]


def _observed(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Copy a model; its outputs are the maximum and the minimum of each named tensor."""
    from onnx import ModelProto, TensorProto, helper

    observed = ModelProto()
    observed.CopyFrom(model)
    del observed.graph.output[:]
    for name in names:
        for operator in ("ReduceMax", "ReduceMin"):
            output = f"{name}.{operator}"
            observed.graph.node.append(helper.make_node(operator, [name], [output], keepdims=0))
            observed.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return observed


def _squares(model: onnx.ModelProto, max_abs: Mapping[str, float]) -> dict[str, float]:
    """Bound the sums that LRN takes over `size` channels."""
    from onnx import helper

    norms = [node for node in model.graph.node if node.op_type == "LRN"]
    return {
        node.name: helper.get_node_attr_value(node, "size") * max_abs[node.input[0]] ** 2 for node in norms
    }
