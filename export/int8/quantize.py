"""Explicit Q/DQ nodes around the inputs of convolutions: the int8 graph.

Symmetric, per channel for weights and per tensor for activations, which is what TensorRT takes: one pair of
nodes on each activation that an int8 convolution reads, one Dequantize on its weights. Nothing else is
touched: no output, no LRN, no ConvTranspose. Biases stay as the body has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.contract import METADATA_KEY, Contract
from ..to_onnx import check_model
from .scales import quantized_weights, scale_of

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Conv:
    """How one convolution is quantised.

    Attributes:
        threshold: the largest activation that int8 holds.
        weights: (O, I, kh, kw) float32, to be rounded.
        bias: (O,) float32; None without one.
    """

    threshold: float
    weights: NDArray[np.float32]
    bias: NDArray[np.float32] | None


def quantize(model: onnx.ModelProto, convs: Mapping[str, Int8Conv]) -> onnx.ModelProto:
    """Put Q/DQ nodes before convolutions.

    Args:
        model: a graph of any body: fp32, typed fp16, or fp32 with fp16's rounding written out. It stays as
            it is. Scales take the type of the tensor that they belong to.
        convs: those to quantise, by the node's name. Convolutions that read one tensor share one threshold.

    Returns:
        A checked model whose contract says `int8`; the same arguments give the same bytes.
    """
    import onnx_ir

    quantized = onnx_ir.from_proto(model)
    nodes = {node.name: node for node in quantized.graph}
    done: dict[ir.Value, ir.Value] = {}
    for name, conv in convs.items():
        node = nodes[name]
        data = node.inputs[0]
        assert data is not None
        if data not in done:
            done[data] = _round_trip(quantized.graph, node, data, conv.threshold)
        node.replace_input_with(0, done[data])
        _quantize_weights(quantized.graph, node, conv)
    contract = Contract.from_metadata(quantized.metadata_props, "the fp32 graph")
    quantized.metadata_props[METADATA_KEY] = replace(contract, precision="int8").to_json()
    proto = onnx_ir.to_proto(quantized)
    check_model(proto)
    return proto


def _round_trip(graph: ir.Graph, node: ir.Node, value: ir.Value, threshold: float) -> ir.Value:
    """Quantise a tensor before a node and back again: `conv1.relu.quantized`, `conv1.relu.dequantized`."""
    import onnx_ir

    name = value.name or ""
    scale = _constant(graph, f"{name}.scale", np.array(scale_of(threshold), _numpy_type(value)))
    zero = _constant(graph, f"{name}.zero_point", np.array(0, np.int8))
    quantized = _made(f"{name}.quantized", onnx_ir.DataType.INT8, value)
    restored = _made(f"{name}.dequantized", _dtype(value), value)
    graph.insert_before(
        node,
        [
            _node("QuantizeLinear", [value, scale, zero], quantized),
            _node("DequantizeLinear", [quantized, scale, zero], restored),
        ],
    )
    return restored


def _quantize_weights(graph: ir.Graph, node: ir.Node, conv: Int8Conv) -> None:
    """Replace a kernel by integers and their Dequantize node, and the bias by the one given."""
    import onnx_ir

    kernel = node.inputs[1]
    assert kernel is not None
    name, dtype = kernel.name or "", _numpy_type(kernel)
    integers, scales = quantized_weights(conv.weights)
    constants = [
        _constant(graph, f"{name}.quantized", integers),
        _constant(graph, f"{name}.scale", scales.astype(dtype)),
        _constant(graph, f"{name}.zero_point", np.zeros(len(scales), np.int8)),
    ]
    restored = _made(f"{name}.dequantized", _dtype(kernel), kernel)
    graph.insert_before(node, _node("DequantizeLinear", constants, restored, axis=0))
    node.replace_input_with(1, restored)
    del graph.initializers[name]
    if conv.bias is not None:
        bias = node.inputs[2]
        assert bias is not None
        bias.const_value = onnx_ir.tensor(conv.bias.astype(_numpy_type(bias)), name=bias.name)


def _node(operator: str, inputs: list[ir.Value], output: ir.Value, **attributes: int) -> ir.Node:
    import onnx_ir

    return onnx_ir.node(operator, inputs, attributes, outputs=[output], name=output.name)


def _made(name: str, dtype: ir.DataType, like: ir.Value) -> ir.Value:
    import onnx_ir

    return onnx_ir.Value(name=name, type=onnx_ir.TensorType(dtype), shape=like.shape)


def _constant(graph: ir.Graph, name: str, values: NDArray[Any]) -> ir.Value:
    import onnx_ir

    tensor = onnx_ir.tensor(values, name=name)
    value = onnx_ir.Value(
        name=name,
        type=onnx_ir.TensorType(tensor.dtype),
        shape=onnx_ir.Shape(values.shape),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def _dtype(value: ir.Value) -> ir.DataType:
    assert value.dtype is not None
    return value.dtype


def _numpy_type(value: ir.Value) -> np.dtype[Any]:
    return _dtype(value).numpy()
