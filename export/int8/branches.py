"""Convolutions behind a Concat, split into one convolution for each branch: what goes to int8.

A convolution of concatenated channels is the sum of convolutions of each branch by its part of the kernel:
the same multiplications, without the copy, and each branch with a scale of its own. The Concat has to go
because OpenVINO (2026.4) gives a Quantize behind a Concat 16 levels instead of 256
(docs/adr/070-int8-without-concat.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def split_concats(model: onnx.ModelProto) -> onnx.ModelProto:
    """Split each convolution of a Concat of channels into one for each branch, and add up their outputs.

    `encode` becomes `encode.0`, `encode.1`, ... with weights of these names, and a last Add named `encode`,
    whose output is the tensor of the same name as before. The bias goes to the first branch; the others get
    zeros, so that each one's mean error can be corrected. A Concat that something else than a convolution
    reads as well stays where it is.

    Args:
        model: an fp32 graph with known shapes; it stays as it is.

    Returns:
        The split graph, or `model` itself where there is nothing to split.
    """
    from onnx import ModelProto, shape_inference

    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    concats = {node.output[0]: node for node in graph.node if _joins_channels(node)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Conv" and node.input[0] in concats:
            nodes.extend(_branches(graph, node, list(concats[node.input[0]].input)))
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    nodes = [node for node in nodes if node.output[0] in read]
    if [node.name for node in nodes] == [node.name for node in model.graph.node]:
        return model
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    values = [value for value in graph.value_info if any(value.name in node.output for node in nodes)]
    for field, kept in ((graph.node, nodes), (graph.initializer, constants), (graph.value_info, values)):
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        del field[:]
        field.extend(copies)
    return shape_inference.infer_shapes(changed, strict_mode=True)


def _joins_channels(node: onnx.NodeProto) -> bool:
    return node.op_type == "Concat" and any(item.name == "axis" and item.i == 1 for item in node.attribute)


def _branches(graph: onnx.GraphProto, conv: onnx.NodeProto, tensors: list[str]) -> list[onnx.NodeProto]:
    """Convolutions of each branch and the additions behind them; their constants are put into the graph."""
    from onnx import NodeProto, helper, numpy_helper

    shapes = {value.name: value.type.tensor_type.shape.dim for value in graph.value_info}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kernel = numpy_helper.to_array(constants[conv.input[1]])  # (O, I, kh, kw)
    parts = np.split(kernel, np.cumsum([shapes[tensor][1].dim_value for tensor in tensors])[:-1], axis=1)
    nodes: list[onnx.NodeProto] = []
    total = ""
    for place, (tensor, part) in enumerate(zip(tensors, parts, strict=True)):
        name = f"{conv.name}.{place}"
        added = {f"{name}.weight": part}
        if len(conv.input) > 2:
            bias = numpy_helper.to_array(constants[conv.input[2]])
            added[f"{name}.bias"] = bias if place == 0 else np.zeros_like(bias)
        graph.initializer.extend(numpy_helper.from_array(values.copy(), key) for key, values in added.items())
        branch = NodeProto()
        branch.CopyFrom(conv)
        branch.name = name
        branch.input[:] = [tensor, *added]
        branch.output[:] = [name]
        nodes.append(branch)
        if place > 0:
            is_last = place == len(tensors) - 1
            output = conv.output[0] if is_last else f"{name}.sum"
            nodes.append(
                helper.make_node("Add", [total, name], [output], name=conv.name if is_last else output)
            )
            total = output
        else:
            total = name
    return nodes
