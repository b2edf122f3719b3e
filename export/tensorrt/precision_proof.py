"""Proof that an engine has the precision asked for: its ONNX file before the build, its layers after it.

The rule, over the convolutions of the ONNX file, transposed ones included:

1. The file holds convolutions of the precision asked for (fp32: no others).
2. The engine computes each one in the datatype that the file gives it. One that the file itself types
   otherwise, because it was kept in fp32 or out of int8, is allowed so, and counted in the receipt.
3. Where fp32 was asked for, no layer of the engine reads or writes Half or Int8.

What cannot be found among the layers is not proved, and counts as wrong.

The layers are parsed from TensorRT's own description. A build with detailed profiling verbosity writes a line
for each layer into the verbose log; the engine inspector gives the same lines
(`LayerInformationFormat.ONELINE`). TensorRT-RTX, then TensorRT, shortened:

    Name: conv1_myl0_1, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [1,4,64,96],
    Datatype: Half }], Constants: [ { ... }], Outputs: [ { ... }], ..., Metadata: [ONNX Layer: conv1]

    Name: conv1 + conv1.relu, LayerType: CaskConvolution, Inputs: [ { ..., Format/Datatype: Row major FP16 }],
    Outputs: [ ... ], ..., Weights: {"Type": "Half", "Count": 7056}, ..., Metadata: [ONNX Layer: conv1]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ...runtime.backends.tensorrt.receipt import UNKNOWN, Layer
from ...runtime.contract import INPUT_NAME, OUTPUT_NAME, Contract, Precision
from ...runtime.errors import BuildError, ContractError
from .library import TensorRt
from .types import (
    Builder,
    IConstantLayer,
    IConvolutionLayer,
    ILayer,
    INetworkDefinition,
    OnnxParser,
    ParserError,
)

DTYPES: dict[Precision, str] = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}
_REDUCED = {"Half", "BFloat16", "Int8"}
_SHOWN = 3


def check_asked(precision: Precision, asked: Mapping[str, str], origin: str) -> None:
    """Hold an ONNX file against its precision (rule 1), before anything is built.

    Args:
        precision: what was asked for.
        asked: datatype of each convolution in the file, by its ONNX node's name.
        origin: the file's name, for the error's text.

    Raises:
        BuildError: the file is of another precision.
    """
    wanted = DTYPES[precision]
    of_another = [dtype for dtype in asked.values() if dtype != wanted]
    if wanted not in asked.values() or (precision == "fp32" and of_another):
        found = ", ".join(f"{count} {dtype}" for dtype, count in counted(asked.values()).items()) or "none"
        raise BuildError(f"{origin} is no {precision} model; its convolutions: {found}. Export it again")


def prove(precision: Precision, asked: Mapping[str, str], layers: Sequence[Layer], engine: str) -> None:
    """Hold an engine against the ONNX file that it was built from (rules 2 and 3).

    Args:
        precision: what was asked for.
        asked: datatype of each convolution in the file, by its ONNX node's name.
        layers: what the engine consists of.
        engine: its name, for the error's text.

    Raises:
        BuildError: it is not what was asked for, or that cannot be proved.
    """
    built = built_dtypes(asked, layers)
    wrong = [
        f"{name} asked {asked[name]}, built {built[name]}" for name in asked if built[name] != asked[name]
    ]
    if wrong:
        raise BuildError(
            f"{engine} is not {precision}: {len(wrong)} of {len(asked)} convolutions are not as the ONNX "
            f"file has them ({_first(wrong)}). Choose another precision or --target"
        )
    reduced = [layer.name for layer in layers if _REDUCED & {*layer.inputs, *layer.outputs, layer.dtype}]
    if precision == "fp32" and reduced:
        raise BuildError(f"{engine} is not fp32: {len(reduced)} layers are not ({_first(reduced)})")


def built_dtypes(names: Mapping[str, str], layers: Sequence[Layer]) -> dict[str, str]:
    """Find the datatypes in which an engine computes some ONNX nodes; `unknown` where they are not found."""
    return {name: _built_dtype(name, layers) for name in names}


def counted(dtypes: Iterable[str]) -> dict[str, int]:
    """Count datatypes, the most frequent first."""
    return dict(Counter(dtypes).most_common())


def _built_dtype(name: str, layers: Sequence[Layer]) -> str:
    """Ask the layers that compute a node; where none is known to, all that do a part of it."""
    naming = [layer for layer in layers if name in (*layer.onnx_nodes, *layer.name.split(" + "))]
    computing = [layer for layer in naming if layer.computes]
    dtypes = {layer.dtype for layer in computing or naming}
    return " and ".join(sorted(dtypes)) or UNKNOWN


def _first(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    return "; ".join(items[:_SHOWN]) + (f"; {more} more" if more > 0 else "")


_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<type>[^,]*), "
    r"Inputs: \[(?P<inputs>| .*?\})\], "
    r"(?:Constants: \[(?P<constants>| .*?\})\], )?"
    r"Outputs: \[(?P<outputs>| .*?\})\](?P<rest>.*)"
)
_DTYPE = re.compile(r"Data[tT]ype: ([^,}]*)")
_TENSOR = re.compile(r"Dimensions: \[([^\]]*)\].*?Data[tT]ype: ([^,}]*)")
_WEIGHTS = re.compile(r'Weights: \{"Type": "(\w+)"')
_METADATA = re.compile(r"Metadata: (.*)")
_ONNX_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=\[|[\x1e\x1f]|\s*$)")
_DTYPE_WORDS = {
    "Float": re.compile(r"\b(Float|FP32)\b"),
    "Half": re.compile(r"\b(Half|FP16)\b"),
    "BFloat16": re.compile(r"\b(BFloat16|BF16)\b"),
    "Int8": re.compile(r"\b(Int8|INT8)\b"),
    "UInt8": re.compile(r"\b(UInt8|UINT8)\b"),
    "Int32": re.compile(r"\b(Int32|INT32)\b"),
    "Int64": re.compile(r"\b(Int64|INT64)\b"),
    "Bool": re.compile(r"\b(Bool|BOOL)\b"),
}


def layers_in(text: str) -> tuple[Layer, ...]:
    """Find the layers that a log or an inspector's report describes.

    Args:
        text: any number of lines; those that describe no layer are passed over.
    """
    lines = text.split("\n")  # not splitlines: \x1e, which separates ONNX nodes, would end a line
    return tuple(_layer(match) for match in map(_LINE.match, lines) if match)


def onnx_nodes_in(metadata: str) -> tuple[str, ...]:
    """Find the names of ONNX nodes in a layer's metadata: `[ONNX Layer: a][ONNX Layer: b]`."""
    return tuple(_ONNX_NODE.findall(metadata))


def _layer(match: re.Match[str]) -> Layer:
    metadata = _METADATA.search(match["rest"])
    layer = Layer(
        name=match["name"],
        type=match["type"],
        onnx_nodes=onnx_nodes_in(metadata[1]) if metadata else (),
        inputs=_dtypes(match["inputs"]),
        weights=None,
        outputs=_dtypes(match["outputs"]),
    )
    return replace(layer, weights=_weights(match)) if layer.computes else layer


def _weights(match: re.Match[str]) -> str | None:
    """TensorRT names the weights' type; TensorRT-RTX lists them among the constants or the inputs."""
    named = _WEIGHTS.search(match["rest"])
    if named:
        return _dtype(named[1])
    tensors = _TENSOR.findall(match["constants"] or "")
    kernels = [_dtype(found) for dimensions, found in tensors if _is_kernel(dimensions)]
    return next(iter(kernels or _dtypes(match["inputs"])[1:]), None)


def _is_kernel(dimensions: str) -> bool:
    """Tell a kernel, such as `48,4,7,7`, from a scale, such as `1` or `1,48,1,1`."""
    return sum(side != "1" for side in dimensions.split(",")) > 1


def _dtypes(tensors: str) -> tuple[str, ...]:
    return tuple(_dtype(found) for found in _DTYPE.findall(tensors))


def _dtype(description: str) -> str:
    return next((dtype for dtype, words in _DTYPE_WORDS.items() if words.search(description)), UNKNOWN)


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
