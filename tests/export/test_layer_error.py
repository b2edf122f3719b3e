"""Errors node by node, against PyTorch's own activations, and planted faults found by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from saliency_edge.export.int8.quantize import Int8Conv, quantize
from saliency_edge.export.layer_error import LayerError, first_node_out_of, layer_errors
from saliency_edge.export.range_scan import scan_ranges
from saliency_edge.export.to_fp16 import fp16_from_fp32, kept_fp32, rounded_as_fp16
from saliency_edge.export.to_onnx import contract_of
from saliency_edge.runtime.errors import ArtifactError
from seeded_networks import (
    checkpoint_of,
    exported,
    frames_for,
    initialisers,
    node_names,
    seeded_checkpoint,
    seeded_network,
    torch_maps,
)
from toy_models import toy_contract, toy_model

NETWORK = "deep_half"


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return frames_for(seeded_checkpoint(NETWORK)).pixels


def changed(
    model: onnx.ModelProto, name: str, change: Callable[[NDArray[np.float32]], object]
) -> onnx.ModelProto:
    """Copy a model, one of its constants changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensor = initialisers(copy)[name]
    weights = np.asarray(change(numpy_helper.to_array(tensor)), np.float32)
    tensor.CopyFrom(numpy_helper.from_array(weights, name))
    return copy


def to_bits(bits: int) -> Callable[[NDArray[np.float32]], object]:
    """Round weights to so many bits, symmetrically."""

    def rounded(weights: NDArray[np.float32]) -> object:
        step = np.abs(weights).max() / (2 ** (bits - 1) - 1)
        return np.rint(weights / step) * step

    return rounded


def errors_of(
    other: onnx.ModelProto, pixels: NDArray[np.uint8], batch: tuple[int, int] = (1, 8)
) -> list[LayerError]:
    contract = contract_of(seeded_checkpoint(NETWORK), batch)
    return layer_errors(exported(NETWORK, batch), other, contract, pixels)


def by_node(errors: list[LayerError]) -> dict[str, LayerError]:
    return {error.node: error for error in errors}


def torch_output(
    layer: str, change: Callable[[NDArray[np.float32]], object] | None, pixels: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Give a layer's output in PyTorch over all frames, its weights changed or not."""
    network = seeded_network(NETWORK)
    module = network.body.get_submodule(layer)
    assert isinstance(module, torch.nn.Conv2d)
    if change is not None:
        module.weight.data = torch.from_numpy(np.asarray(change(module.weight.detach().numpy()), np.float32))
    seen: list[NDArray[np.float64]] = []
    module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.double().numpy()))
    torch_maps(checkpoint_of(network), pixels)
    return np.concatenate(seen)


def test_figures_are_pytorchs(pixels: NDArray[np.uint8]) -> None:
    other = changed(exported(NETWORK), "conv2.weight", to_bits(6))
    reference, found = (torch_output("conv2", change, pixels) for change in (None, to_bits(6)))
    difference = found - reference

    error = by_node(errors_of(other, pixels))["conv2"]

    assert error.operator == "Conv"
    assert error.sqnr_db == pytest.approx(
        10 * np.log10((reference**2).sum() / (difference**2).sum()), abs=0.01
    )
    assert error.max_abs_error == pytest.approx(np.abs(difference).max(), rel=1e-3)
    assert (error.minimum, error.maximum) == pytest.approx((reference.min(), reference.max()), rel=1e-4)


def test_every_node_is_compared_and_a_graph_equals_itself(pixels: NDArray[np.uint8]) -> None:
    model = exported(NETWORK)
    before = model.SerializeToString()

    errors = errors_of(model, pixels)

    assert [error.node for error in errors] == node_names(model)
    assert {error.sqnr_db for error in errors} == {200.0}
    assert first_node_out_of(errors, 100.0) is None
    assert model.SerializeToString() == before


@pytest.mark.parametrize("layer", ["conv1", "conv4", "conv9"])
def test_the_layer_whose_weights_have_6_bits_is_named(layer: str, pixels: NDArray[np.uint8]) -> None:
    other = changed(exported(NETWORK), f"{layer}.weight", to_bits(6))

    first = first_node_out_of(errors_of(other, pixels), 60.0)

    assert first is not None
    assert first.node == layer
    assert 20 < first.sqnr_db < 45


def test_the_layer_that_makes_nan_is_named(pixels: NDArray[np.uint8]) -> None:
    other = changed(exported(NETWORK), "conv3.bias", lambda bias: np.full_like(bias, np.nan))

    first = first_node_out_of(errors_of(other, pixels), -100.0)

    assert first is not None
    assert (first.node, first.sqnr_db) == ("conv3", -200.0)
    assert first.to_json()["max_abs_error"] is None


def test_half_layers_show_halfs_rounding(pixels: NDArray[np.uint8]) -> None:
    model, contract = exported(NETWORK), contract_of(seeded_checkpoint(NETWORK), (1, 8))
    kept = kept_fp32(model, scan_ranges(model, contract, pixels))

    written_out = by_node(errors_of(rounded_as_fp16(model, kept), pixels))
    typed = by_node(errors_of(fp16_from_fp32(model, kept), pixels))

    # Half has 11 bits: uniform rounding of a value to 2^-11 of it leaves about 72 dB, less as layers add up.
    assert 60 < written_out["conv1"].sqnr_db < 80
    assert written_out["conv8"].sqnr_db < written_out["conv1"].sqnr_db
    assert written_out["input.sub"].sqnr_db == 200.0
    assert list(typed) == list(written_out)
    assert typed["conv8"].sqnr_db > 50


@pytest.mark.parametrize("half_body", [False, True])
def test_the_convolution_that_is_clipped_in_int8_is_named(half_body: bool, pixels: NDArray[np.uint8]) -> None:
    model, contract = exported(NETWORK), contract_of(seeded_checkpoint(NETWORK), (1, 8))
    scan = scan_ranges(model, contract, pixels)
    body = fp16_from_fp32(model, kept_fp32(model, scan)) if half_body else model
    largest = {"conv3": scan.max_abs["conv2.maxpool"], "conv5": scan.max_abs["conv4.relu"]}
    thresholds = {"conv3": largest["conv3"], "conv5": largest["conv5"] / 10}
    convs = {name: int8_conv(model, name, threshold) for name, threshold in thresholds.items()}

    errors = errors_of(quantize(body, convs), pixels)

    first, found = first_node_out_of(errors, 20.0), by_node(errors)
    assert first is not None
    assert first.node == "conv5"
    assert 25 < found["conv3"].sqnr_db < 55
    assert found["conv2"].sqnr_db > 55
    assert len(errors) == len(model.graph.node)


def int8_conv(model: onnx.ModelProto, name: str, threshold: float) -> Int8Conv:
    """Quantise a convolution at a threshold, its weights as they are."""
    weights, bias = (
        numpy_helper.to_array(initialisers(model)[f"{name}.{part}"]) for part in ("weight", "bias")
    )
    return Int8Conv(threshold=threshold, weights=weights, bias=bias)


def test_batches_add_up(pixels: NDArray[np.uint8]) -> None:
    other = changed(exported(NETWORK, (2, 2)), "conv2.weight", to_bits(6))
    single = changed(exported(NETWORK), "conv2.weight", to_bits(6))
    even = pixels[: len(pixels) // 2 * 2]

    pairs, ones = errors_of(other, even, (2, 2)), errors_of(single, even)

    assert [error.sqnr_db for error in pairs] == pytest.approx([error.sqnr_db for error in ones], abs=0.01)


def test_graphs_of_nothing_in_common_are_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ArtifactError, match="no node in common"):
        errors_of(toy_model(toy_contract()), pixels)
