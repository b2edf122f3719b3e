"""Equalising channels: what int8 would round away is enlarged before, and shrunk again by the next kernel.

One scale serves all channels of an activation, so one that reaches a hundredth of the largest has but one of
127 levels. Between two convolutions with nothing but ReLU and MaxPool, a channel can be multiplied by any
positive factor if the weights that read it are divided by it (Nagel et al. 2019, section 4.1). Half of the
distance, in octaves, is moved from the activation to the weights (Xiao et al. 2023, alpha = 0.5): they have a
scale for each output channel, and lose less. Factors are powers of two: the maps of the fp32 graph stay the
same to the last bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...calib.ranges import TensorRange
from .measure import Measure

if TYPE_CHECKING:
    import onnx

EQUALISED_KEY = "saliency_edge.equalised"
"""The key of a graph's metadata that holds the octaves, so that its tensors can be compared."""
MOST_OCTAVES = 6
SHARE = 0.5
_PASSING_OPS = frozenset({"Relu", "MaxPool", "Cast"})

Octaves = Mapping[str, Sequence[int]]
"""By the name of a convolution: powers of two, (O,), that its output channels are multiplied by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A convolution and those that alone read what it gives.

    Attributes:
        maker: name of the convolution.
        readers: names of the others.
        tensor: the activation that the first of them reads.
    """

    maker: str
    readers: tuple[str, ...]
    tensor: str


def find_links(model: onnx.ModelProto) -> tuple[Link, ...]:
    """Find the convolutions whose output other convolutions read, through ReLU and MaxPool, and nothing else.

    Args:
        model: the fp32 graph, or one made from it before Q/DQ nodes are put in.
    """
    links = []
    for node in model.graph.node:
        reads = _reads(model, node.output[0]) if node.op_type == "Conv" else []
        if reads and all(reader.op_type == "Conv" for reader, _ in reads):
            names = tuple(reader.name for reader, _ in reads)
            links.append(Link(maker=node.name, readers=names, tensor=reads[0][1]))
    return tuple(links)


def choose_octaves(
    links: Sequence[Link], ranges: Mapping[str, TensorRange], measures: Mapping[str, Measure]
) -> dict[str, tuple[int, ...]]:
    """Choose by how much each channel is enlarged: by half of its distance from the largest one, in octaves.

    Args:
        links: of the fp32 graph.
        ranges: of its activations; the largest value that calibration saw is what no channel may pass.
        measures: of the convolutions that may be int8, by the node's name; links to others are left out.
    """
    return {
        link.maker: _octaves(measures[link.readers[0]].reach, ranges[link.tensor].thresholds["minmax"])
        for link in links
        if all(reader in measures for reader in link.readers)
    }


def equalised(model: onnx.ModelProto, octaves: Octaves) -> onnx.ModelProto:
    """Multiply channels, and divide the weights that read them.

    Args:
        model: a graph of any body, with the convolutions' names; it stays as it is.
        octaves: what `choose_octaves` gave.

    Returns:
        The graph, whose metadata hold the octaves.
    """
    from onnx import ModelProto, helper, numpy_helper

    changed = ModelProto()
    changed.CopyFrom(model)
    nodes = {node.name: node for node in changed.graph.node}
    tensors = {tensor.name: tensor for tensor in changed.graph.initializer}
    readers = {link.maker: link.readers for link in find_links(model)}

    def scale(name: str, factors: NDArray[np.float64]) -> None:
        values = numpy_helper.to_array(tensors[name])
        tensors[name].CopyFrom(numpy_helper.from_array((values * factors).astype(values.dtype), name))

    for maker, exponents in octaves.items():
        factors = np.exp2(np.array(exponents, np.float64))
        scale(nodes[maker].input[1], factors[:, None, None, None])
        for bias in nodes[maker].input[2:]:
            scale(bias, factors)
        for reader in readers[maker]:
            scale(nodes[reader].input[1], 1 / factors[None, :, None, None])
    metadata = {item.key: item.value for item in changed.metadata_props}
    texts = {maker: list(exponents) for maker, exponents in octaves.items()}
    helper.set_model_props(changed, {**metadata, EQUALISED_KEY: json.dumps(texts)})
    return changed


def octaves_of(model: onnx.ModelProto) -> Octaves:
    """Read by how much a graph's channels were enlarged; nothing where they were not."""
    texts = (item.value for item in model.metadata_props if item.key == EQUALISED_KEY)
    found: Octaves = json.loads(next(texts, "{}"))
    return found


def _octaves(reach: Sequence[float], largest: float) -> tuple[int, ...]:
    """Give the octaves of each channel; one that was never seen alive stays as it is."""
    distances = (math.log2(largest / value) if value > 0 else 0.0 for value in reach)
    return tuple(min(max(0, math.floor(SHARE * distance)), MOST_OCTAVES) for distance in distances)


def _reads(model: onnx.ModelProto, tensor: str) -> list[tuple[onnx.NodeProto, str]]:
    """Give the nodes that read a tensor, through ReLU and MaxPool, and the name of what each one reads."""
    found: list[tuple[onnx.NodeProto, str]] = []
    for node in model.graph.node:
        if tensor in node.input:
            passes = node.op_type in _PASSING_OPS
            found += _reads(model, node.output[0]) if passes else [(node, tensor)]
    return found
