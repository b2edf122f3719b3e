"""From measures to scales: how each convolution is quantised once it is settled which ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .layers import ConvLayer, shared_scales
from .measure import Measure
from .quantize import Int8Conv
from .segments import Kernel, Segments

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How convolutions are quantised.

    Attributes:
        layers: those that may be.
        measures: of each, by the node's name.
        kernels: of each, by the node's name.
        groups: activations that share one scale, see `layers.shared_scales`.
        corrects_bias: whether biases take away the mean error of their channel.
    """

    layers: Sequence[ConvLayer]
    measures: Mapping[str, Measure]
    kernels: Mapping[str, Kernel]
    groups: Mapping[str, Sequence[str]]
    corrects_bias: bool = False

    def convs(self, kept: Set[str]) -> dict[str, Int8Conv]:
        """Give the convolutions of a set as `quantize` takes them.

        Args:
            kept: names of those that stay float.
        """
        chosen = [layer for layer in self.layers if layer.node not in kept]
        thresholds = self._thresholds(chosen)
        return {layer.node: self._conv(layer, thresholds[layer.tensor]) for layer in chosen}

    def _thresholds(self, chosen: Sequence[ConvLayer]) -> dict[str, float]:
        """Give each activation the largest threshold of its group."""
        own: dict[str, float] = {}
        for layer in chosen:
            own[layer.tensor] = max(own.get(layer.tensor, 0.0), self.measures[layer.node].threshold)
        return {tensor: max(own.get(other, 0.0) for other in self.groups[tensor]) for tensor in own}

    def _conv(self, layer: ConvLayer, threshold: float) -> Int8Conv:
        kernel, bias = self.kernels[layer.node], self.kernels[layer.node].bias
        if bias is not None and self.corrects_bias:
            bias = bias - np.array(self.measures[layer.node].mean_error, np.float32)
        return Int8Conv(threshold=threshold, weights=kernel.weights, bias=bias)


def recipe_of(
    model: onnx.ModelProto, segments: Segments, layers: Sequence[ConvLayer], measures: Mapping[str, Measure]
) -> Recipe:
    """Gather what quantising takes.

    Args:
        model: the fp32 graph.
        segments: of it.
        layers: convolutions that may be int8.
        measures: of each, by the node's name.
    """
    return Recipe(
        layers=layers,
        measures=measures,
        kernels={layer.node: segments.kernel(layer) for layer in layers},
        groups=shared_scales(model, [layer.tensor for layer in layers]),
    )
