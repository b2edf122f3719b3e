"""Where Q/DQ nodes stand, and that they compute what int8 arithmetic does."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import helper, numpy_helper

from quantizing import minmax_convs, seeded, weights_of
from saliency_edge.export.int8.layers import conv_layers, shared_scales, total_macs
from saliency_edge.export.int8.quantize import Int8Conv, quantize
from saliency_edge.export.int8.scales import fake_quantized, quantized_weights, scale_of
from saliency_edge.export.ort_session import cpu_session, ort_maps
from saliency_edge.runtime.contract import Contract
from seeded_networks import exported, initialisers
from toy_models import deployed

NETWORKS = ("deep_half", "mlnet_small")


@cache
def int8_of(name: str) -> onnx.ModelProto:
    source = seeded(name).source
    return quantize(source.body, minmax_convs(source.fp32, source.ranges))


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


@pytest.mark.parametrize("name", NETWORKS)
def test_only_inputs_and_weights_of_convolutions_are_quantised(name: str) -> None:
    model = int8_of(name)
    made = producers(model)
    readers = [
        (node.op_type, place)
        for node in model.graph.node
        for place, tensor in enumerate(node.input)
        if tensor in made and made[tensor].op_type == "DequantizeLinear"
    ]
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]

    assert set(readers) == {("Conv", 0), ("Conv", 1)}
    assert len(readers) == 2 * (len(convolutions) - 1)  # the one that computes the map stays float
    assert made["saliency"].op_type != "DequantizeLinear"


@pytest.mark.parametrize("name", NETWORKS)
def test_scales_are_half_symmetric_and_per_channel_on_axis_0(name: str) -> None:
    model, constants = int8_of(name), initialisers(int8_of(name))
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = (numpy_helper.to_array(constants[tensor]) for tensor in node.input[1:])
        assert (scale.dtype, zero.dtype) == (np.float16, np.int8)
        assert not zero.any()
        assert (scale > 0).all()
        if node.input[0] in constants:  # weights
            integers = numpy_helper.to_array(constants[node.input[0]])
            assert helper.get_node_attr_value(node, "axis") == 0
            assert scale.shape == integers.shape[:1]
            assert integers.min() >= -127
        else:
            assert scale.shape == ()


def test_inputs_of_a_concat_share_one_scale() -> None:
    layers = conv_layers(seeded("mlnet_small").exported)
    groups = shared_scales(seeded("mlnet_small").exported, [layer.tensor for layer in layers])

    assert groups["blocks.4.4.concat"] == ("blocks.2.4.maxpool", "blocks.3.4.maxpool", "blocks.4.4.concat")
    assert groups["blocks.0.0.relu"] == ("blocks.0.0.relu",)


def test_multiplications_are_those_of_the_papers() -> None:
    model = exported("deep_half")
    height, width = 36, 48

    first = conv_layers(model)[0]
    assert first.macs == height * width * 48 * 3 * 7 * 7
    # 34.3 G at 240 x 320, in proportion to the area; borders count as cells.
    assert total_macs(model) == pytest.approx(34.3e9 * height * width / (240 * 320), rel=0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_same_inputs_give_the_same_bytes(name: str) -> None:
    source = seeded(name).source
    again = quantize(source.body, minmax_convs(source.fp32, source.ranges))

    assert again.SerializeToString(deterministic=True) == int8_of(name).SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_file_runs_in_onnx_runtime_near_its_rounded_twin(name: str) -> None:
    """ONNX Runtime drops the casts of the typed file, so the two differ by the rounding to half alone."""
    source, gate = seeded(name).source, seeded(name).gate
    convs = minmax_convs(source.fp32, source.ranges)
    found = ort_maps(int8_of(name), seeded(name).contract, gate.frames.pixels)
    rounded = ort_maps(quantize(source.rounded, convs), seeded(name).contract, gate.frames.pixels)

    assert_allclose(found, rounded, rtol=0, atol=0.05)
    assert np.abs(found - gate.references).max() > 1e-4  # int8 it is


def one_convolution(kernel: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    conv = helper.make_node("Conv", ["data", "weight", "bias"], ["conv"], name="conv", pads=[1, 1, 1, 1])
    return deployed("one", [conv], {"weight": kernel, "bias": bias})


def test_quantised_convolution_equals_integer_arithmetic() -> None:
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(4, 3, 3, 3)).astype(np.float32)
    bias = generator.normal(size=4).astype(np.float32)
    frame = generator.integers(0, 256, (1, 24, 32, 3), np.uint8)
    threshold = 200.0  # so that some values are cut off
    model = quantize(
        one_convolution(kernel, bias),
        {"conv": Int8Conv(threshold=threshold, weights=kernel, bias=bias)},
    )
    found = cpu_session(model).run(None, {"frame": frame})[0]

    integers, scales = quantized_weights(kernel)
    scale = scale_of(threshold)
    data = np.clip(np.rint(frame / scale), -128, 127).astype(np.int64).transpose(0, 3, 1, 2)
    padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    sums = np.einsum("nchwij,ocij->nohw", windows, integers.astype(np.int64))
    exact = sums * (scale * scales.astype(np.float64))[:, None, None] + bias[:, None, None]
    assert_allclose(found, exact.max(axis=1), rtol=1e-5, atol=1e-3)


def test_contract_says_int8_and_the_argument_is_left_alone() -> None:
    source = seeded("deep_half").source
    metadata = {entry.key: entry.value for entry in int8_of("deep_half").metadata_props}

    assert Contract.from_metadata(metadata, "int8").precision == "int8"
    assert all(node.op_type != "QuantizeLinear" for node in source.body.graph.node)


def test_scales_hold_the_threshold_and_stay_normal_in_half() -> None:
    for threshold in (1e-9, 0.3, 1.0, 151.06, 3e4):
        scale = scale_of(threshold)
        assert scale * 127 >= threshold
        assert np.float16(scale) == scale
        assert scale >= np.finfo(np.float16).smallest_normal
    assert scale_of(127.0) == 1.0


def test_fake_quantising_is_rounding_to_even_with_saturation() -> None:
    values = np.array([-1000, -1.5, -0.5, 0.5, 1.5, 126.6, 1000], np.float32)

    assert_array_equal(fake_quantized(values, 1.0), [-128, -2, 0, 0, 2, 127, 127])


def test_weights_of_a_dead_channel_do_no_harm() -> None:
    weights = np.zeros((2, 3, 3, 3), np.float32)
    weights[1] = 0.5
    integers, scales = quantized_weights(weights)

    assert not integers[0].any()
    assert np.isfinite(scales).all()
    assert_allclose(integers[1] * scales[1], 0.5, rtol=1e-3)


def test_weights_keep_their_names() -> None:
    names = set(weights_of(int8_of("deep_half")))

    assert {"conv1.weight.quantized", "conv1.weight.scale", "conv1.weight.zero_point", "conv1.bias"} <= names
    assert "conv1.weight" not in names
