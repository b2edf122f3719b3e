"""Equalising channels: what int8 would round away is enlarged before, and shrunk again by the next kernel.

One scale serves all channels of an activation, and all activations that a Concat joins, so a channel that
reaches a hundredth of the largest has but one of 127 levels. Between convolutions with nothing but ReLU,
MaxPool and Concat, a channel can be multiplied by any positive factor if the weights that read it are divided
by it (Nagel et al. 2019, section 4.1). Factors are powers of two, so the maps of the fp32 graph stay the same
to the last bit; `octaves.py` chooses them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...runtime.records import parse_json, to_record
from .layers import sizes_of

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

EQUALISED_KEY = "saliency_edge.equalised"
"""The key of a graph's metadata that holds the octaves, so that its tensors can be compared."""
_PASSING_OPS = frozenset({"Relu", "MaxPool"})

Octaves = Mapping[str, Sequence[int]]
"""By the name of a convolution: powers of two, (O,), that its output channels are multiplied by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A convolution that reads what another one gives.

    Attributes:
        node: its name.
        tensor: the activation that it reads.
        first: the channel of that activation where the other's channels begin; not 0 behind a Concat.
    """

    node: str
    tensor: str
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A convolution and those that alone read what it gives.

    Attributes:
        maker: name of the convolution.
        channels: how many it gives.
        readers: the others, one or more.
    """

    maker: str
    channels: int
    readers: tuple[Reader, ...]


def find_links(model: onnx.ModelProto) -> tuple[Link, ...]:
    """Find the convolutions whose output other convolutions, none of them grouped, read, and nothing else.

    Args:
        model: the fp32 graph; ReLU, MaxPool, a border of zeros and a Concat of channels may lie between them.
    """
    import onnx_ir

    links = []
    for node in onnx_ir.from_proto(model).graph:
        reads = _reads(node.outputs[0], 0) if _is_plain(node) else []
        if reads and all(_reads_all_channels(reader) for reader, _, _ in reads):
            readers = tuple(
                Reader(node=reader.name or "", tensor=tensor.name or "", first=first)
                for reader, tensor, first in reads
            )
            links.append(Link(maker=node.name or "", channels=sizes_of(node.outputs[0])[1], readers=readers))
    return tuple(links)


def equalised(model: onnx.ModelProto, links: Sequence[Link], octaves: Octaves) -> onnx.ModelProto:
    """Multiply channels, and divide the weights that read them.

    Args:
        model: a graph of any body, with the convolutions' names; it stays as it is.
        links: of the fp32 graph.
        octaves: by how much each maker's channels are enlarged.

    Returns:
        The graph, whose metadata hold the octaves.
    """
    from onnx import ModelProto, helper, numpy_helper

    changed = ModelProto()
    changed.CopyFrom(model)
    nodes = {node.name: node for node in changed.graph.node}
    tensors = {tensor.name: tensor for tensor in changed.graph.initializer}
    readers = {link.maker: link.readers for link in links}

    def scale(name: str, factors: NDArray[np.float64]) -> None:
        values = numpy_helper.to_array(tensors[name])
        tensors[name].CopyFrom(numpy_helper.from_array((values * factors).astype(values.dtype), name))

    for maker, exponents in octaves.items():
        factors = np.exp2(np.array(exponents, np.float64))
        scale(nodes[maker].input[1], factors[:, None, None, None])
        for bias in nodes[maker].input[2:]:
            scale(bias, factors)
        for reader in readers[maker]:
            kernel = nodes[reader.node].input[1]
            read = np.ones(tensors[kernel].dims[1])
            read[reader.first : reader.first + len(factors)] = factors
            scale(kernel, 1 / read[None, :, None, None])
    metadata = {item.key: item.value for item in changed.metadata_props}
    texts = {maker: list(exponents) for maker, exponents in octaves.items()}
    helper.set_model_props(changed, {**metadata, EQUALISED_KEY: json.dumps(texts)})
    return changed


def octaves_of(model: onnx.ModelProto) -> Octaves:
    """Read by how much a graph's channels were enlarged; nothing where they were not."""
    texts = (item.value for item in model.metadata_props if item.key == EQUALISED_KEY)
    name = f"the graph's metadata {EQUALISED_KEY}"
    return to_record(parse_json(next(texts, "{}"), name), dict[str, list[int]], name)


def _reads(value: ir.Value, first: int) -> list[tuple[ir.Node, ir.Value, int]]:
    """Give the nodes that read a tensor, what each one reads, and where the tensor's channels begin in it."""
    found: list[tuple[ir.Node, ir.Value, int]] = []
    for node, place in value.uses():
        if _passes(node):
            before = node.inputs[:place] if node.op_type == "Concat" else ()
            found += _reads(node.outputs[0], first + sum(sizes_of(other)[1] for other in before))
        else:
            found.append((node, value, first))
    return found


def _is_plain(node: ir.Node) -> bool:
    """Whether it is a convolution of a plane whose weights and output size are known."""
    if node.op_type != "Conv" or node.outputs[0].shape is None:
        return False
    constants = [value for value in node.inputs[1:] if value is not None]
    return all(value.is_initializer() for value in constants) and len(sizes_of(node.outputs[0])) == 4


def _reads_all_channels(node: ir.Node) -> bool:
    """Whether it is a convolution of one group with weights of its own: a grouped one has other columns."""
    group = node.attributes.get("group")
    weight = node.inputs[1] if node.op_type == "Conv" else None
    return weight is not None and weight.is_initializer() and (group is None or group.as_int() == 1)


def _passes(node: ir.Node) -> bool:
    """Tell whether a channel that is enlarged before a node is enlarged behind it, and no other one."""
    if node.op_type == "Concat":
        return node.attributes["axis"].as_int() == 1
    if node.op_type == "Pad":
        return len(node.inputs) == 2  # without a value it is 0
    return node.op_type in _PASSING_OPS
