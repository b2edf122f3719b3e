"""TensorRT's descriptions of layers, read from a recorded log and in the shapes of other versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from saliency_edge.export.tensorrt.precision_proof import UNKNOWN, layers_in, onnx_nodes_in

RECORDED = Path(__file__).parent / "recorded" / "tensorrt_rtx_1.7.1.txt"


def tensorrt_line(name: str, format_in: str, weights: str, metadata: str) -> str:
    """A convolution as TensorRT 10 describes it."""
    tensor = "{{ Name: {}, Location: Device, Dimensions: [1,64,56,56], Format/Datatype: {} }}"
    return (
        f"Name: {name}, LayerType: CaskConvolution, Inputs: [ {tensor.format('a', format_in)}], "
        f"Outputs: [ {tensor.format('b', format_in)}], ParameterType: Convolution, Kernel: [3,3], "
        f'Weights: {{"Type": "{weights}", "Count": 36864}}, Bias: {{"Type": "Float", "Count": 64}}, '
        f"TacticName: sm80_xmma_fprop, StreamId: 0, Metadata: {metadata}"
    )


def test_recorded_log_gives_its_layers() -> None:
    layers = layers_in(RECORDED.read_text(encoding="utf-8"))
    found = [(layer.type, layer.inputs, layer.weights, layer.outputs) for layer in layers]

    assert found == [
        ("kgen", ("UInt8",), None, ("Half",)),
        ("correlation", ("Half",), "Half", ("Half",)),
        ("correlation", ("Half",), "Half", ("Half",)),
        ("deconv", ("Float",), "Float", ("Float",)),
        ("runtime_fusion", ("Half",), "Half", ("Float",)),
        ("correlation", ("Int8",), "Int8", ("Float",)),
        ("correlation", ("Int8",), "Int8", ("Float",)),
        ("correlation", ("Half", "Half"), "Half", ("Half",)),
        ("shape_call", (), None, ()),
        ("correlation", ("Float",), None, ("Float",)),  # a 1x1 kernel to 1 channel looks like a scale
    ]


def test_recorded_log_gives_onnx_nodes_and_what_computes_them() -> None:
    layers = layers_in(RECORDED.read_text(encoding="utf-8"))
    computed = [(layer.onnx_nodes[0], layer.dtype) for layer in layers if layer.computes]

    assert computed == [
        ("conv1", "Half"),
        ("conv2", "Half"),
        ("deconv", "Float"),
        ("conv8", "Half"),
        ("conv1", "Int8"),
        ("conv9", "Int8"),
        ("conv4", "Half"),  # int8 asked, for Turing: its weights were dequantised into a second input
        ("readout", "Float"),
    ]


@pytest.mark.parametrize(
    ("format_in", "weights", "dtype"),
    [
        ("Half", "Half", "Half"),
        ("Row major linear FP32", "Float", "Float"),
        ("Channel major FP16 format where channel % 8 == 0", "Half", "Half"),
        ("Thirty-two wide channel vectorized row major Int8 format", "Int8", "Int8"),
        ("N/A due to dynamic shapes", "Int8", "Int8"),
        ("Row major linear BF16", "BFloat16", "BFloat16"),
        ("Channel major FP16 format where channel % 8 == 0", "Int8", "Half x Int8"),
    ],
)
def test_tensorrt_10_names_datatypes_in_words(format_in: str, weights: str, dtype: str) -> None:
    line = tensorrt_line(
        "conv1 + conv1.relu", format_in, weights, "[ONNX Layer: conv1]\x1e[ONNX Layer: conv1.relu]"
    )
    (layer,) = layers_in(f"[V] a line before\n{line}\nand one behind")

    assert (layer.name, layer.type, layer.dtype) == ("conv1 + conv1.relu", "CaskConvolution", dtype)
    assert layer.onnx_nodes == ("conv1", "conv1.relu")


def test_datatype_and_format_may_stand_apart() -> None:
    line = tensorrt_line("conv1", "Half", "Half", "[ONNX Layer: conv1]")
    (layer,) = layers_in(line.replace("Format/Datatype: Half", "DataType: Half, Format: Row major linear"))

    assert (layer.inputs, layer.outputs, layer.dtype) == (("Half",), ("Half",), "Half")


def test_unknown_datatype_is_not_guessed() -> None:
    line = tensorrt_line("conv1", "N/A due to dynamic shapes", "Half", "").replace('"Half"', '"E4M3"')
    (layer,) = layers_in(line)

    assert (layer.dtype, layer.onnx_nodes) == (UNKNOWN, ())


@pytest.mark.parametrize(
    "text", ["", "Name: conv1", "LayerType: correlation", "Layer(CaskConvolution): conv1"]
)
def test_other_lines_are_no_layers(text: str) -> None:
    assert layers_in(text) == ()


def test_onnx_names_may_hold_brackets_and_slashes() -> None:
    assert onnx_nodes_in("[ONNX Layer: /a/Conv[0]][ONNX Layer: b]\x1f[ONNX Layer: c] ") == (
        "/a/Conv[0]",
        "b",
        "c",
    )
    assert onnx_nodes_in("") == ()
