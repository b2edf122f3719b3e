"""The convolutions of an fp32 graph: what they cost, which may be int8, and which scales they must share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

NOT_FLAT = "is no convolution of a plane with constant weights and known sizes"
COMPUTES_MAP = "computes the map of one channel: no speed to win, and the output would magnify its rounding"
# TensorRT moves a Quantize node over these, so what they read and what they give has one scale.
_PASSING_OPS = frozenset({"MaxPool", "Relu", "Concat", "Pad"})
_FLOAT_OPS = ("ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvLayer:
    """A convolution of the fp32 graph.

    Attributes:
        node: its name.
        tensor: the activation that it reads.
        weight: its kernel's name, (O, I, kh, kw).
        bias: its bias' name, (O,); None without one.
        macs: multiplications of a frame.
        refused: why it cannot be int8; None where it may.
    """

    node: str
    tensor: str
    weight: str
    bias: str | None
    macs: int
    refused: str | None


def conv_layers(model: onnx.ModelProto) -> tuple[ConvLayer, ...]:
    """List the convolutions in the graph's order."""
    import onnx_ir

    graph = onnx_ir.from_proto(model).graph
    return tuple(_layer(node) for node in graph if node.op_type == "Conv")


def total_macs(model: onnx.ModelProto) -> int:
    """Count the multiplications of a frame, those of transposed convolutions and of matrices included."""
    import onnx_ir

    return sum(_macs(node) for node in onnx_ir.from_proto(model).graph)


def float_operators(model: onnx.ModelProto) -> dict[str, int]:
    """Count the operators with multiplications of their own that int8 leaves in float, by their kind."""
    import onnx_ir

    kinds = [node.op_type for node in onnx_ir.from_proto(model).graph]
    return {kind: kinds.count(kind) for kind in _FLOAT_OPS if kind in kinds}


def shared_scales(model: onnx.ModelProto, tensors: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Find tensors that must have one scale: a MaxPool, Relu, Pad or Concat lies between them.

    Args:
        model: the fp32 graph.
        tensors: that are to be quantised.

    Returns:
        For each of `tensors`, all of them in its group, itself included, in the order given.
    """
    group: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type in _PASSING_OPS:
            tied = [name for name in (*node.input, *node.output) if name and not _is_constant(model, name)]
            _tie(group, tied)
    roots = {tensor: _root(group, tensor) for tensor in tensors}
    return {tensor: tuple(other for other in tensors if roots[other] == roots[tensor]) for tensor in tensors}


def shared_thresholds(
    groups: Mapping[str, Sequence[str]], thresholds: Mapping[str, float]
) -> dict[str, float]:
    """Give all tensors of a group the largest of their thresholds."""
    return {tensor: max(thresholds[other] for other in groups[tensor]) for tensor in thresholds}


def _layer(node: ir.Node) -> ConvLayer:
    inputs = [value.name or "" for value in node.inputs if value is not None]
    refused = None if _is_flat(node) else NOT_FLAT
    if refused is None and sizes_of(node.outputs[0])[1] == 1:
        refused = COMPUTES_MAP
    return ConvLayer(
        node=node.name or "",
        tensor=inputs[0],
        weight=inputs[1],
        bias=inputs[2] if len(inputs) > 2 else None,
        macs=_macs(node),
        refused=refused,
    )


def _is_flat(node: ir.Node) -> bool:
    """Whether a convolution goes over height and width, with known weights; foreign ones may not."""
    constants = [value for value in node.inputs[1:] if value is not None]
    tensors = (node.inputs[0], *constants, node.outputs[0])
    if any(value is None or value.shape is None for value in tensors):
        return False
    padding = node.attributes.get("auto_pad")
    is_explicit = padding is None or padding.as_string() in ("NOTSET", "VALID")
    return (
        is_explicit
        and len(sizes_of(node.outputs[0])) == 4
        and sizes_of(node.outputs[0])[1] > 0
        and all(value.is_initializer() for value in constants)
    )


def _macs(node: ir.Node) -> int:
    """Multiply the cells of the output (of the input, where it is transposed) by each one's weights; or 0."""
    if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0
    first, second = node.inputs[:2]
    if any(value is None or value.shape is None for value in (first, second, node.outputs[0])):
        return 0
    if node.op_type in ("MatMul", "Gemm"):
        inner = sizes_of(second)[0 if node.op_type == "Gemm" else -2 if len(sizes_of(second)) > 1 else -1]
        return prod(sizes_of(node.outputs[0])[1:]) * inner
    cells = first if node.op_type == "ConvTranspose" else node.outputs[0]
    return prod(sizes_of(cells)[2:]) * prod(sizes_of(second))


def sizes_of(value: ir.Value | None) -> list[int]:
    """Give a tensor's sizes; 0 for a batch that is not fixed."""
    assert value is not None
    assert value.shape is not None
    return [size if isinstance(size, int) else 0 for size in value.shape]


def _is_constant(model: onnx.ModelProto, name: str) -> bool:
    return any(tensor.name == name for tensor in model.graph.initializer)


def _tie(group: dict[str, str], names: Sequence[str]) -> None:
    for name in names[1:]:
        group[_root(group, name)] = _root(group, names[0])


def _root(group: Mapping[str, str], name: str) -> str:
    while group.get(name, name) != name:
        name = group[name]
    return name
