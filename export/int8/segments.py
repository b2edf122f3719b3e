"""The fp32 graph cut at its convolutions: one is tried without running all that stands before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ...runtime.contract import INPUT_NAME, OUTPUT_NAME, Contract
from ..ort_session import cpu_session
from .layers import ConvLayer
from .scales import dequantized_weights, fake_quantized, scale_of

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Floats = NDArray[np.float32]
Captured = Mapping[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What a convolution multiplies with.

    Attributes:
        weights: (O, I, kh, kw).
        bias: (O,); None without one.
    """

    weights: Floats
    bias: Floats | None


class Segments:
    """An fp32 graph whose tensors can be captured, and its parts from a convolution's output to the map."""

    def __init__(self, model: onnx.ModelProto, contract: Contract, layers: Sequence[ConvLayer]) -> None:
        """Take the graph as it is.

        Args:
            model: the fp32 graph.
            contract: its contract.
            layers: convolutions that will be tried.
        """
        self._model = model
        self._batch = contract.batch[0]
        self._nodes = {node.name: node for node in model.graph.node}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._behind = {layer.node: self._tensors_behind(layer) for layer in layers}
        inputs = {layer.tensor for layer in layers}
        self._captured = sorted(inputs.union(*self._behind.values()))

    def kernel(self, layer: ConvLayer) -> Kernel:
        """Read a convolution's weights."""
        weights = self._constant(layer.weight)
        return Kernel(weights=weights, bias=self._constant(layer.bias) if layer.bias else None)

    def capture(self, frames: NDArray[np.uint8]) -> list[dict[str, Floats]]:
        """Run the graph and keep, frame by frame, what `convolve` and `finish` need, and the map.

        Args:
            frames: (K, H, W, 3) BGR, at the network's size.
        """
        names = [*self._captured, OUTPUT_NAME]
        session = self._session([INPUT_NAME], names)
        found = []
        for frame in frames:
            outputs = session.run(names, {INPUT_NAME: self._batched(frame[None])})
            found.append({name: value[:1] for name, value in zip(names, outputs, strict=True)})
        return found

    def convolve(self, layer: ConvLayer, data: Floats, kernel: Kernel) -> Floats:
        """Compute a convolution in fp32, with sums that hold products of int8 exactly enough (1e-6).

        Args:
            layer: whose strides and borders are taken.
            data: (1, I, H, W).
            kernel: what it multiplies with.

        Returns:
            (1, O, H', W').
        """
        import torch
        from onnx import helper
        from torch.nn import functional

        node = self._nodes[layer.node]
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        with torch.inference_mode():
            out = functional.conv2d(
                functional.pad(torch.from_numpy(data), (left, right, top, bottom)),
                torch.from_numpy(kernel.weights),
                None if kernel.bias is None else torch.from_numpy(kernel.bias),
                stride=tuple(attributes.get("strides", (1, 1))),
                dilation=tuple(attributes.get("dilations", (1, 1))),
                groups=attributes.get("group", 1),
            )
        return cast(Floats, out.numpy())

    def convolve_int8(
        self, layer: ConvLayer, data: Iterable[Floats], kernel: Kernel, threshold: float
    ) -> list[Floats]:
        """Compute a convolution with its input and its weights passed through int8 and back.

        Args:
            layer: whose strides and borders are taken.
            data: (1, I, H, W) of each frame.
            kernel: what it multiplies with, not rounded yet.
            threshold: the largest activation that int8 holds.

        Returns:
            (1, O, H', W') of each frame.
        """
        scale = scale_of(threshold)
        rounded = Kernel(weights=dequantized_weights(kernel.weights), bias=kernel.bias)
        return [self.convolve(layer, fake_quantized(values, scale), rounded) for values in data]

    def finish(
        self, layer: ConvLayer, outputs: Sequence[Floats], captured: Sequence[Captured]
    ) -> list[Floats]:
        """Compute the maps that follow from other outputs of one convolution.

        Args:
            layer: the convolution.
            outputs: (1, O, H', W') for each frame.
            captured: what `capture` gave for these frames.

        Returns:
            (h, w) for each frame.
        """
        output = self._nodes[layer.node].output[0]
        others = self._behind[layer.node]
        session = self._session([output, *others], [OUTPUT_NAME])
        return [
            session.run(None, self._inputs({output: own, **{name: frame[name] for name in others}}))[0][0]
            for own, frame in zip(outputs, captured, strict=True)
        ]

    def _tensors_behind(self, layer: ConvLayer) -> list[str]:
        """Name the other tensors that the part behind a convolution reads."""
        made = {self._nodes[layer.node].output[0]}
        read: dict[str, None] = {}
        for node in self._model.graph.node:
            if made.intersection(node.input):
                made.update(node.output)
                read.update(dict.fromkeys(node.input))
        return [name for name in read if name not in made and name and name not in self._constants]

    def _session(self, inputs: list[str], outputs: list[str]) -> onnxruntime.InferenceSession:
        from onnx.utils import Extractor

        return cpu_session(Extractor(self._model).extract_model(inputs, outputs))

    def _inputs(self, tensors: Captured) -> dict[str, Floats]:
        return {name: self._batched(tensor) for name, tensor in tensors.items()}

    def _batched(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Repeat one frame's tensor where the graph takes several at once."""
        return np.repeat(tensor, self._batch, axis=0)

    def _constant(self, name: str) -> Floats:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._constants[name]).astype(np.float32)
