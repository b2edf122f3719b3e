"""What TensorRT's parser makes of an ONNX file, held against the contract before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ...runtime.contract import INPUT_NAME, OUTPUT_NAME, Contract
from ...runtime.errors import BuildError, ContractError
from .layer_report import onnx_nodes_in
from .tensorrt_api import TensorRt
from .tensorrt_types import (
    Builder,
    IConstantLayer,
    IConvolutionLayer,
    ILayer,
    INetworkDefinition,
    OnnxParser,
    ParserError,
)

Signature = tuple[str, tuple[int, ...]]
"""A tensor's datatype and shape."""

_PLACE = re.compile(r" In \S+ at \S+:\d+")
_DAMAGED = "The file is damaged, or of a later version of ONNX. Export it again"
_UNSUPPORTED = "Export it again with a lower --opset, or use a later TensorRT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedNetwork:
    """A network with the builder and the parser that own its parts."""

    builder: Builder
    parser: OnnxParser
    definition: INetworkDefinition


def parse(api: TensorRt, model: bytes, origin: str) -> ParsedNetwork:
    """Read an ONNX file into a network.

    Args:
        api: the flavour to read with.
        model: the file's content.
        origin: the file's name, for error texts.

    Raises:
        BuildError: TensorRT does not take it.
    """
    builder = api.builder()
    definition = api.network(builder)
    parser = api.parser(definition)
    if not parser.parse(model) or definition.num_layers == 0:  # some junk is taken for an empty graph
        raise BuildError(_refusal(api, parser, origin))
    return ParsedNetwork(builder=builder, parser=parser, definition=definition)


def check_contract(network: INetworkDefinition, contract: Contract, origin: str) -> None:
    """Hold a network's input and output against the contract.

    Raises:
        ContractError: names, shapes or datatypes differ.
    """
    found = _signature(network)
    smallest, largest = contract.batch
    count = smallest if smallest == largest else -1
    expected = {
        INPUT_NAME: ("UINT8", (count, *contract.size_hw, 3)),
        OUTPUT_NAME: ("FLOAT", (count, *contract.map_size_hw)),
    }
    if found != expected:
        raise ContractError(f"{origin}: inputs and outputs are {found}, expected {expected}. Export it again")


def check_weights(api: TensorRt, network: INetworkDefinition, origin: str) -> None:
    """Look for weights that would make every map NaN.

    Raises:
        BuildError: a convolution's weights are not finite, or a constant is NaN.
    """
    for layer in _layers(network):
        if not all(np.isfinite(weights).all() for weights in _kernels(api, layer)):
            raise BuildError(f"{origin}: weights of {layer.name} are NaN or infinite. Export better weights")
        if np.isnan(_constant(api, layer)).any():
            raise BuildError(f"{origin}: the constant {layer.name} is NaN. Export better weights")


def asked_dtypes(api: TensorRt, network: INetworkDefinition) -> dict[str, str]:
    """Tell in which datatype the ONNX file wants each convolution computed, transposed ones included.

    Returns:
        `Float`, `Half` or `Int8` by the ONNX node's name. Int8 is where data and weights come from a
        DequantizeLinear; elsewhere the data's own type holds, since the network is strongly typed.
    """
    kinds = api.trt.LayerType
    dequantized = {layer.get_output(0).name for layer in _layers(network) if layer.type == kinds.DEQUANTIZE}
    convolutions = (
        layer for layer in _layers(network) if layer.type in (kinds.CONVOLUTION, kinds.DECONVOLUTION)
    )
    return {_onnx_name(layer): _asked_dtype(layer, dequantized) for layer in convolutions}


def _asked_dtype(layer: ILayer, dequantized: Set[str]) -> str:
    tensors = [tensor for tensor in map(layer.get_input, range(layer.num_inputs)) if tensor is not None]
    if len(tensors) > 1 and all(tensor.name in dequantized for tensor in tensors[:2]):
        return "Int8"
    return tensors[0].dtype.name.capitalize()


def _onnx_name(layer: ILayer) -> str:
    return next(iter(onnx_nodes_in(layer.metadata)), layer.name)


def _layers(network: INetworkDefinition) -> Iterator[ILayer]:
    return map(network.get_layer, range(network.num_layers))


def _signature(network: INetworkDefinition) -> dict[str, Signature]:
    inputs = map(network.get_input, range(network.num_inputs))
    outputs = map(network.get_output, range(network.num_outputs))
    return {tensor.name: (tensor.dtype.name, tuple(tensor.shape)) for tensor in (*inputs, *outputs)}


def _kernels(api: TensorRt, layer: ILayer) -> tuple[NDArray[np.generic], ...]:
    """Give a convolution's kernel and bias; both are empty where they come as tensors."""
    kinds = api.trt.LayerType
    classes = {kinds.CONVOLUTION: api.trt.IConvolutionLayer, kinds.DECONVOLUTION: api.trt.IDeconvolutionLayer}
    if layer.type not in classes:
        return ()
    layer.__class__ = classes[layer.type]  # the documented way to reach a layer's own members
    convolution = cast(IConvolutionLayer, layer)
    return np.asarray(convolution.kernel), np.asarray(convolution.bias)


def _constant(api: TensorRt, layer: ILayer) -> NDArray[np.generic]:
    if layer.type != api.trt.LayerType.CONSTANT:
        return np.empty(0)
    layer.__class__ = api.trt.IConstantLayer
    return np.asarray(cast(IConstantLayer, layer).weights)


def _refusal(api: TensorRt, parser: OnnxParser, origin: str) -> str:
    """Put the parser's first complaint into one line."""
    if parser.num_errors == 0:
        return f"{origin}: {api.title} {api.version} finds no graph in it. {_DAMAGED}"
    error = parser.get_error(0)
    operator = error.node_operator()
    node = f" node {error.node_name()!r} ({operator})" if operator else ""
    remedy = _UNSUPPORTED if operator else _DAMAGED
    return f"{origin}: {api.title} {api.version} does not take{node or ' it'}: {_reason(error)}. {remedy}"


def _reason(error: ParserError) -> str:
    """Keep what a complaint says, without the places in TensorRT's sources and its search for a GPU."""
    lines = [line for line in error.desc().splitlines() if "Cuda Runtime" not in line]
    return _PLACE.sub("", ": ".join(lines)).rstrip(".")
