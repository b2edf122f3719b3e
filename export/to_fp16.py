"""From the fp32 graph to a typed fp16 one: half precision everywhere, except in the nodes that are kept.

Why not a library's converter, and why these nodes: `docs/adr/010-fp16-typing.md`. Beside it, the same
arithmetic in a graph of fp32 type, its rounding written out: `rounded_as_fp16`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.contract import METADATA_KEY, Contract
from ..runtime.errors import ArtifactError
from .range_scan import FP16_MAX, RangeScan
from .to_onnx import check_model

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def kept_fp32(model: onnx.ModelProto, scan: RangeScan) -> dict[str, str]:
    """Choose the nodes that stay fp32.

    These are operators that have no half; the scaling of the input, where a mean of 103.939 leaves no exact
    half; all that computes a map of one channel up to the output, where an exp would turn half's rounding of
    a large value into an error of the map; and what the range scan saw come near fp16's limit.

    Args:
        model: the fp32 graph.
        scan: of that graph.

    Returns:
        The reason by the node's name.
    """
    import onnx_ir

    kept: dict[str, str] = {}
    for node in onnx_ir.from_proto(model).graph:
        name = node.name or ""
        tensors = [value.name for value in (*node.inputs, *node.outputs) if value is not None]
        near = [tensor for tensor in tensors if tensor in scan.near()]
        if not _gives_half(node):
            kept[name] = f"{node.op_type} has no half"
        elif name.startswith("input."):
            kept[name] = "scales the input"
        elif name.startswith("output.") or _has_one_channel(node.outputs[0]):
            kept[name] = "computes the map"
        elif near:
            kept[name] = f"range: {near[0]} reaches {scan.max_abs[near[0]]:.4g}"
        elif name in scan.near_squares():
            kept[name] = f"range: its sum of squares reaches {scan.squares[name]:.4g}"
    return kept


def _has_one_channel(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 4 and value.shape[1] == 1


def fp16_from_fp32(model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """Type a graph as fp16; input and output stay uint8 and float32.

    Args:
        model: the fp32 graph; it stays as it is.
        kept: names of the nodes that stay fp32. One Cast stands on each tensor that crosses over.

    Returns:
        A checked model whose contract says `fp16`.

    Raises:
        ArtifactError: a weight is NaN or beyond fp16's range.
    """
    import onnx_ir

    typed = onnx_ir.from_proto(model)
    for node in typed.graph:
        if node.name not in kept:
            _type_half(node)
    for value in typed.graph.initializers.values():
        _halve_weights(value, kept)
    _cast_between(typed.graph, kept)
    contract = Contract.from_metadata(typed.metadata_props, "the fp32 graph")
    typed.metadata_props[METADATA_KEY] = replace(contract, precision="fp16").to_json()
    proto = onnx_ir.to_proto(typed)
    check_model(proto)
    return proto


def _type_half(node: ir.Node) -> None:
    """Make a node's float outputs half; a Cast says so in an attribute."""
    import onnx_ir

    if node.op_type == "Cast" and node.attributes["to"].as_int() == onnx_ir.DataType.FLOAT:
        node.attributes["to"] = onnx_ir.AttrInt64("to", onnx_ir.DataType.FLOAT16)
    for value in node.outputs:
        if value.dtype == onnx_ir.DataType.FLOAT:
            value.dtype = onnx_ir.DataType.FLOAT16


def _halve_weights(value: ir.Value, kept: Collection[str]) -> None:
    """Round a float tensor to half where all that read it are half."""
    import onnx_ir

    is_read_as_float = any(
        node.name in kept or not _takes_half(node, position) for node, position in value.uses()
    )
    if value.dtype != onnx_ir.DataType.FLOAT or is_read_as_float:
        return
    assert value.const_value is not None
    weights = value.const_value.numpy()
    if not np.all(np.abs(weights) <= FP16_MAX):
        raise ArtifactError(
            f"{value.name} holds {np.abs(weights).max():g}, beyond fp16's {FP16_MAX:g}. Export without --fp16"
        )
    value.const_value = onnx_ir.Tensor(weights.astype(np.float16), name=value.name)
    value.dtype = onnx_ir.DataType.FLOAT16


def _gives_half(node: ir.Node) -> bool:
    """Whether all float outputs may be half by the operator's schema; operators of other domains have none.

    Raises:
        ArtifactError: the node holds a graph of its own, whose tensors would have to be typed with it.
    """
    import onnx
    import onnx_ir

    graphs = (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)
    if any(attribute.type in graphs for attribute in node.attributes.values()):
        raise ArtifactError(
            f"{node.name} is control flow ({node.op_type}), which has no fp16 here. Give --fp32 alone"
        )
    version = node.version or onnx.defs.onnx_opset_version()
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return False
    return all(
        "tensor(float16)" in schema.outputs[min(place, len(schema.outputs) - 1)].types
        for place, value in enumerate(node.outputs)
        if value.dtype == onnx_ir.DataType.FLOAT
    )


def _takes_half(node: ir.Node, position: int) -> bool:
    """Whether an input may be half by the operator's schema; the scales of a Resize are always float."""
    import onnx

    version = node.version or onnx.defs.onnx_opset_version()
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:  # an operator of another domain
        return True
    declared = schema.inputs[min(position, len(schema.inputs) - 1)]
    return "tensor(float16)" in declared.types


def _cast_between(graph: ir.Graph, kept: Collection[str]) -> None:
    """Put a Cast on each tensor that leaves one precision for the other, one for all that read it."""
    import onnx_ir

    floats = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16)
    done: dict[str | None, ir.Value] = {}
    for node in list(graph):
        for position, value in enumerate(node.inputs):
            wanted = floats[node.name not in kept and _takes_half(node, position)]
            if value is None or value.dtype not in floats or value.dtype == wanted:
                continue
            if value.name not in done:
                done[value.name] = cast_before(graph, node, value, wanted)
            node.replace_input_with(position, done[value.name])


def cast_before(graph: ir.Graph, node: ir.Node, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """Insert a Cast of a tensor before a node, and give what it makes: `conv8.relu.fp32`."""
    import onnx_ir

    name = f"{value.name}.{'fp16' if dtype == onnx_ir.DataType.FLOAT16 else 'fp32'}"
    made = onnx_ir.Value(name=name, type=onnx_ir.TensorType(dtype), shape=value.shape)
    graph.insert_before(node, onnx_ir.node("Cast", [value], {"to": dtype}, outputs=[made], name=name))
    return made


# They choose and move values, so it makes no difference whether these are rounded before or after.
_CHOOSING_OPS = frozenset({"Relu", "MaxPool", "Pad", "Concat"})


def rounded_as_fp16(model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """Write fp16's rounding into a copy of the fp32 graph, which stays of fp32 type.

    ONNX Runtime has no half-precision kernels for x86 CPUs: it computes an fp16 graph in fp32 and drops the
    casts between its nodes, so that graph agrees with PyTorch better there than on any device. Here each
    tensor passes through half and back, which ONNX Runtime keeps; sums stay fp32, as GPUs have them.

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
