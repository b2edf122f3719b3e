"""What an engine consists of: TensorRT's own description of its layers, parsed.

A build with detailed profiling verbosity writes a line for each layer into the verbose log; the engine
inspector gives the same lines (`LayerInformationFormat.ONELINE`). TensorRT-RTX, then TensorRT, shortened:

    Name: conv1_myl0_1, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [1,4,64,96],
    Datatype: Half }], Constants: [ { ... }], Outputs: [ { ... }], ..., Metadata: [ONNX Layer: conv1]

    Name: conv1 + conv1.relu, LayerType: CaskConvolution, Inputs: [ { ..., Format/Datatype: Row major FP16 }],
    Outputs: [ ... ], ..., Weights: {"Type": "Half", "Count": 7056}, ..., Metadata: [ONNX Layer: conv1]
"""

from __future__ import annotations

import re
from dataclasses import replace

from ...runtime.backends.tensorrt.receipt import UNKNOWN, Layer

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
