"""The fp16 graph: what is half in it, what is not, and that its rounding is what a device's is."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from saliency_edge.export.ort_session import ort_maps
from saliency_edge.export.parity import Agreement, compare
from saliency_edge.export.range_scan import RangeScan, scan_ranges
from saliency_edge.export.to_fp16 import fp16_from_fp32, kept_fp32, rounded_as_fp16
from saliency_edge.export.to_onnx import contract_of, onnx_from_checkpoint
from saliency_edge.runtime.contract import Contract
from saliency_edge.runtime.errors import ArtifactError, ParityError
from saliency_edge.train.checkpoint import Checkpoint
from saliency_edge.train.networks.saliency_network import SaliencyNetwork
from seeded_networks import (
    SMALL_HW,
    checkpoint_of,
    frames_for,
    initialisers,
    node_names,
    seeded_checkpoint,
    seeded_network,
    torch_maps,
)
from tolerances import MAX_ABS, MIN_CC

BATCH = (1, 8)
# What stays fp32 besides the scaling of input and output: layers that compute the one-channel map.
HEADS = {
    "deep_half": {"conv9", "deconv"},
    "deep_full": {"conv9", "deconv"},
    "mlnet": {"readout"},
    "mlnet_small": {"readout"},
}


class Graphs:
    """A checkpoint's graphs, and how they agree with PyTorch."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.contract = contract_of(checkpoint, BATCH)
        self.frames = frames_for(checkpoint)
        self.fp32 = onnx_from_checkpoint(checkpoint, BATCH)
        self.scan: RangeScan = scan_ranges(self.fp32, self.contract, self.frames.pixels)
        self.kept = kept_fp32(self.fp32, self.scan)

    def fp16(self) -> onnx.ModelProto:
        return fp16_from_fp32(self.fp32, self.kept)

    def worst(self, model: onnx.ModelProto) -> Agreement:
        maps = ort_maps(model, self.contract, self.frames.pixels)
        references = torch_maps(self.checkpoint, self.frames.pixels)
        return compare("fp16", self.frames.names, maps, references).worst()

    def worst_rounded(self, kept: Iterable[str] | None = None) -> Agreement:
        return self.worst(rounded_as_fp16(self.fp32, list(self.kept if kept is None else kept)))


@cache
def graphs_of(name: str) -> Graphs:
    """Give a seeded network's graphs, not to be changed."""
    return Graphs(seeded_checkpoint(name))


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Give the element type of every tensor."""
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return {**types, **{tensor.name: tensor.data_type for tensor in model.graph.initializer}}


@pytest.mark.parametrize("name", sorted(SMALL_HW))
def test_all_is_half_but_the_ends(name: str) -> None:
    graphs = graphs_of(name)
    model = graphs.fp16()
    types, weights = types_of(model), initialisers(model)
    heads = HEADS[graphs.checkpoint.config.name]

    assert types["frame"] == TensorProto.UINT8
    assert types["saliency"] == TensorProto.FLOAT
    for layer in node_names(model, "Conv", "ConvTranspose"):
        expected = TensorProto.FLOAT if layer in heads else TensorProto.FLOAT16
        assert (types[layer], weights[f"{layer}.weight"].data_type) == (expected, expected), layer
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    assert types_of(inferred) == types


@pytest.mark.parametrize("name", sorted(SMALL_HW))
def test_casts_stand_at_both_ends_and_nowhere_else(name: str) -> None:
    casts = node_names(graphs_of(name).fp16(), "Cast")

    if name.startswith("mlnet"):
        assert casts == ["input.cast", "input.sub.fp16", "encode.relu.fp32"]
    else:
        assert casts == ["input.cast", "input.mul.fp16", "conv8.relu.fp32"]


def test_file_is_half_as_large() -> None:
    graphs = graphs_of("mlnet_small")

    assert graphs.fp16().ByteSize() / graphs.fp32.ByteSize() == pytest.approx(0.5, abs=0.005)


def test_contract_says_fp16_and_nothing_else_changes() -> None:
    graphs = graphs_of("deep_half")
    metadata = {item.key: item.value for item in graphs.fp16().metadata_props}
    found = Contract.from_metadata(metadata, "fp16")

    assert found.precision == "fp16"
    assert (found.network, found.batch, found.size_hw) == ("deep_half", BATCH, graphs.contract.size_hw)


def test_same_inputs_give_the_same_bytes() -> None:
    first, second = (graphs_of("deep_half").fp16() for _ in range(2))

    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", sorted(SMALL_HW))
def test_rounding_stays_within_the_tolerance(name: str) -> None:
    worst = graphs_of(name).worst_rounded()

    assert worst.max_abs <= MAX_ABS["fp16_rounded"], worst
    assert worst.cc >= MIN_CC["fp16_rounded"], worst


@pytest.mark.parametrize("name", ["deep_half", "mlnet_small"])
def test_written_out_rounding_is_that_of_half_arithmetic(name: str) -> None:
    """PyTorch with the same rounding by hand moves the maps as much; without it they would agree to 1e-5."""
    graphs = graphs_of(name)
    by_hand = torch_maps(checkpoint_of(_rounding_network(name)), graphs.frames.pixels)
    references = torch_maps(graphs.checkpoint, graphs.frames.pixels)
    expected = compare("fp16", graphs.frames.names, by_hand, references).worst()
    found = graphs.worst_rounded()

    assert expected.sqnr_db < 80, expected
    assert found.sqnr_db == pytest.approx(expected.sqnr_db, abs=6), (found, expected)


def test_a_layer_beyond_half_stays_fp32() -> None:
    """Activations of 1e6 behind conv3, brought back by conv4: the maps are those of the plain network."""
    network = seeded_network("deep_half")
    _scale(network, "conv3", 3e5)
    _scale(network, "conv4", 1 / 3e5, bias=False)
    graphs = Graphs(checkpoint_of(network))
    types = types_of(graphs.fp16())
    ends = [name for name, reason in graphs.kept.items() if not reason.startswith("range")]

    assert graphs.scan.max_abs["conv3"] > 65504
    assert graphs.kept["conv4"].startswith("range: conv3.relu reaches")
    assert {types[name] for name in ("conv3", "conv3.relu", "conv4")} == {TensorProto.FLOAT}
    assert {types[name] for name in ("conv2", "conv5")} == {TensorProto.FLOAT16}
    assert graphs.worst_rounded().max_abs <= MAX_ABS["fp16"]
    with pytest.raises(ParityError, match="NaN"):
        graphs.worst_rounded(ends)


def test_lrn_whose_squares_overflow_stays_fp32() -> None:
    network = seeded_network("deep_half")
    _scale(network, "conv1", 100.0)
    graphs = Graphs(checkpoint_of(network))

    assert graphs.scan.max_abs["conv1.relu"] < 65504 / 4
    assert graphs.kept["conv1.lrn"].startswith("range: its sum of squares reaches")
    assert types_of(graphs.fp16())["conv1.lrn"] == TensorProto.FLOAT


def test_a_large_log_density_costs_nothing() -> None:
    """exp(x - max x) does not see a constant, but half does: the layers that compute x are kept for that."""
    network = seeded_network("deep_half")
    with torch.no_grad():
        network.body.get_parameter("conv9.bias").fill_(25.0)
    graphs = Graphs(checkpoint_of(network))
    scaling_only = [name for name in graphs.kept if name.startswith(("input.", "output."))]

    assert graphs.worst_rounded().max_abs <= MAX_ABS["fp16"]
    assert graphs.worst_rounded(scaling_only).max_abs > MAX_ABS["fp16"]


@pytest.mark.parametrize("value", [70000.0, -70000.0, float("nan"), float("inf")])
def test_weights_that_half_cannot_hold_are_refused(value: float) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(graphs_of("deep_half").fp32)
    tensor = initialisers(model)["conv5.weight"]
    weights = numpy_helper.to_array(tensor).copy()
    weights[0, 0, 0, 0] = value
    tensor.raw_data = weights.tobytes()

    with pytest.raises(ArtifactError, match=r"conv5\.weight holds .*65504"):
        fp16_from_fp32(model, graphs_of("deep_half").kept)


def _scale(network: SaliencyNetwork, layer: str, factor: float, *, bias: bool = True) -> None:
    with torch.no_grad():
        network.body.get_parameter(f"{layer}.weight").mul_(factor)
        if bias:
            network.body.get_parameter(f"{layer}.bias").mul_(factor)


def _rounding_network(name: str) -> SaliencyNetwork:
    """Make the seeded network round weights, inputs and outputs of its convolutions, except in the heads."""
    network = seeded_network(name)
    for layer, module in network.body.named_modules():
        if isinstance(module, torch.nn.Conv2d) and layer not in HEADS[network.config.name]:
            for parameter in module.parameters():
                parameter.data = parameter.data.half().float()
            module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].half().float(),))
            module.register_forward_hook(lambda _module, _inputs, output: output.half().float())
    return network


def test_half_arithmetic_by_hand_is_half() -> None:
    values: NDArray[np.float32] = np.array([1 / 3, 70000.0, 1e-9], np.float32)

    assert torch.from_numpy(values).half().float().tolist() == [np.float16(1 / 3), np.inf, 0.0]
