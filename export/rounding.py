"""The fp16 graph's arithmetic with its rounding written out, in a graph of fp32 type.

ONNX Runtime has no half-precision kernels for x86 CPUs: it computes an fp16 graph in fp32 and drops the casts
between its nodes, so that graph agrees with PyTorch better there than on any device. Here each tensor passes
through half and back, which ONNX Runtime keeps; sums stay fp32, as GPUs have them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from .to_fp16 import cast_before

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

# They choose and move values, so it makes no difference whether these are rounded before or after.
_CHOOSING_OPS = frozenset({"Relu", "MaxPool", "Pad", "Concat"})


def rounded_as_fp16(model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """Write fp16's rounding into a copy of the fp32 graph.

    Args:
        model: the fp32 graph.
        kept: names of the nodes that the fp16 graph keeps in fp32.
    """
    import onnx_ir

    rounded = onnx_ir.from_proto(model)
    for value in rounded.graph.initializers.values():
        if value.dtype == onnx_ir.DataType.FLOAT and not any(node.name in kept for node in value.consumers()):
            _round_weights(value)
    _round_tensors(rounded.graph, kept)
    return onnx_ir.to_proto(rounded)


def _round_weights(value: ir.Value) -> None:
    import onnx_ir

    assert value.const_value is not None
    with np.errstate(over="ignore"):  # beyond half lies infinity, here as there
        weights = value.const_value.numpy().astype(np.float16).astype(np.float32)
    value.const_value = onnx_ir.Tensor(weights, name=value.name)


def _round_tensors(graph: ir.Graph, kept: Collection[str]) -> None:
    """Round what computing nodes read, unless it goes from one kept node to another."""
    import onnx_ir

    half, single = onnx_ir.DataType.FLOAT16, onnx_ir.DataType.FLOAT
    done: dict[str | None, ir.Value] = {}
    for node in [node for node in graph if node.op_type not in _CHOOSING_OPS]:
        for position, value in enumerate(node.inputs):
            producer = value.producer() if value is not None and value.dtype == single else None
            if value is None or producer is None or (producer.name in kept and node.name in kept):
                continue
            if value.name not in done:
                done[value.name] = cast_before(graph, node, cast_before(graph, node, value, half), single)
            node.replace_input_with(position, done[value.name])
