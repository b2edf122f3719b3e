"""The fp32 graph: what it consists of, what it is called, and that it is the same each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.testing import assert_allclose
from onnx.reference import ReferenceEvaluator

from saliency_edge.export.ort_session import cpu_session, ort_maps
from saliency_edge.export.to_onnx import check_model, contract_of, onnx_from_checkpoint
from saliency_edge.runtime.contract import Contract
from saliency_edge.runtime.errors import ArtifactError, UsageError
from seeded_networks import (
    SMALL_HW,
    exported,
    frames_for,
    initialisers,
    node_names,
    seeded_checkpoint,
    torch_maps,
)

ALL = sorted(SMALL_HW)
# Written down from the papers' layers: reports, sensitivities and the int8 search name layers like this.
DEEP_NAMES = [
    *("input.cast", "input.transpose", "input.sub", "input.mul"),
    *("conv1", "conv1.relu", "conv1.lrn", "conv1.maxpool", "conv2", "conv2.relu", "conv2.maxpool"),
    *("conv3", "conv3.relu", "conv4", "conv4.relu", "conv5", "conv5.relu", "conv6", "conv6.relu"),
    *("conv7", "conv7.relu", "conv8", "conv8.relu", "conv9", "deconv"),
    *("output.reducemax", "output.sub", "output.exp", "output.squeeze", "output.clip"),
]
VGG16_CONVOLUTIONS = (2, 2, 3, 3, 3)
MLNET_CONVOLUTIONS = [
    *(
        f"blocks.{block}.{2 * layer}"
        for block, layers in enumerate(VGG16_CONVOLUTIONS)
        for layer in range(layers)
    ),
    *("encode", "readout"),
]


def test_nodes_of_the_deep_convnet_have_its_layers_names() -> None:
    for name in ("deep_half", "deep_full"):
        assert node_names(exported(name)) == DEEP_NAMES


def test_convolutions_of_mlnet_have_their_modules_names() -> None:
    assert node_names(exported("mlnet"), "Conv") == MLNET_CONVOLUTIONS


@pytest.mark.parametrize("name", ALL)
def test_names_are_unique_and_tensors_have_their_nodes(name: str) -> None:
    nodes = exported(name).graph.node
    named = [(node.name, *node.output) for node in nodes[:-1]]

    assert len({node.name for node in nodes}) == len(nodes)
    assert all(node == tensor for node, tensor in named), named
    assert set(initialisers(exported(name))) >= {
        f"{node.name}.weight" for node in nodes if "Conv" in node.op_type
    }


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("batch", [(1, 1), (1, 8)])
def test_graph_holds_these_operators_and_no_others(name: str, batch: tuple[int, int]) -> None:
    model = exported(name, batch)
    common = {"Cast", "Transpose", "Sub", "Conv", "Relu", "MaxPool", "Mul", "ReduceMax", "Squeeze", "Clip"}
    own = {"Pad", "Concat", "Div"} if name.startswith("mlnet") else {"LRN", "ConvTranspose", "Exp"}
    assert {node.op_type for node in model.graph.node} == common | own


@pytest.mark.parametrize("name", ALL)
def test_checker_and_shape_inference_pass(name: str) -> None:
    bare = onnx.ModelProto()
    bare.CopyFrom(exported(name))
    del bare.graph.value_info[:]

    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(inferred, full_check=True)
    known = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output)}
    assert {tensor for node in inferred.graph.node for tensor in node.output} <= known


@pytest.mark.parametrize("name", ALL)
def test_contract_is_in_the_metadata(name: str) -> None:
    model = exported(name)
    metadata = {item.key: item.value for item in model.metadata_props}
    found = Contract.from_metadata(metadata, name)
    frame, saliency = model.graph.input[0], model.graph.output[0]

    assert (found.network, found.precision, found.batch) == (name, "fp32", (1, 8))
    assert found.weights_sha256 == "5" * 64
    assert (frame.name, frame.type.tensor_type.elem_type) == ("frame", onnx.TensorProto.UINT8)
    assert _dimensions(frame) == ("batch", *found.size_hw, 3)
    assert (saliency.name, saliency.type.tensor_type.elem_type) == ("saliency", onnx.TensorProto.FLOAT)
    assert _dimensions(saliency) == ("batch", *found.map_size_hw)


@pytest.mark.parametrize("name", ALL)
def test_file_tells_nothing_of_this_machine(name: str) -> None:
    without_weights = onnx.ModelProto()
    without_weights.CopyFrom(exported(name))
    for tensor in without_weights.graph.initializer:
        tensor.raw_data = b""
    text = without_weights.SerializeToString().decode("latin-1")

    for word in ("torch", "pkg.", "site-packages", str(Path.cwd()), "namespace", ".py"):
        assert word not in text, word


def test_same_inputs_give_the_same_bytes_in_any_process() -> None:
    program = (
        "import hashlib; from seeded_networks import seeded_checkpoint;"
        "from saliency_edge.export.to_onnx import onnx_from_checkpoint as export;"
        "model = export(seeded_checkpoint('mlnet_small'), (1, 4));"
        "print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    there = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    here = onnx_from_checkpoint(seeded_checkpoint("mlnet_small"), (1, 4))

    digest = hashlib.sha256(here.SerializeToString(deterministic=True)).hexdigest()
    assert there.stdout.strip() == digest


@pytest.mark.parametrize("name", ALL)
def test_batches_give_what_single_frames_give(name: str) -> None:
    frames = frames_for(seeded_checkpoint(name), step=1).pixels[:8]
    session = cpu_session(exported(name))
    single = np.concatenate([session.run(None, {"frame": frame[None]})[0] for frame in frames])

    for count in (2, 3, 8):
        together = session.run(None, {"frame": frames[:count]})[0]
        assert_allclose(together, single[:count], rtol=0, atol=1e-5, err_msg=f"{count} frames")


def test_a_fixed_batch_is_fixed() -> None:
    checkpoint = seeded_checkpoint("deep_half")
    model = onnx_from_checkpoint(checkpoint, (3, 3))
    frames = frames_for(checkpoint, step=3).pixels[:4]
    maps = ort_maps(model, contract_of(checkpoint, (3, 3)), frames)  # 4 frames: the second batch is filled up

    assert _dimensions(model.graph.input[0]) == (3, 36, 48, 3)
    assert_allclose(maps, torch_maps(checkpoint, frames), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "opset"), [("deep_half", 18), ("deep_half", 19), ("mlnet_small", 19), ("mlnet_small", 23)]
)
def test_reference_evaluator_agrees_at_every_opset(name: str, opset: int) -> None:
    checkpoint = seeded_checkpoint(name)
    model = onnx_from_checkpoint(checkpoint, opset=opset)
    frames = frames_for(checkpoint).pixels[:1]
    found = ReferenceEvaluator(model).run(None, {"frame": frames})[0]

    assert model.opset_import[0].version == opset
    assert_allclose(found, torch_maps(checkpoint, frames), rtol=0, atol=1e-4)


def test_both_mlnets_are_one_network_at_two_sizes() -> None:
    big, small = initialisers(exported("mlnet")), initialisers(exported("mlnet_small"))

    assert big["blocks.4.4.weight"].raw_data == small["blocks.4.4.weight"].raw_data
    assert tuple(big["readout.mul.constant_1"].dims) == (1, 1, 8, 9)  # the prior, interpolated
    assert tuple(small["readout.mul.constant_1"].dims) == (1, 1, 8, 8)


def test_broken_weights_are_refused() -> None:
    checkpoint = seeded_checkpoint("deep_half")
    with torch.no_grad():
        checkpoint.network.body.get_parameter("conv4.weight")[3, 2, 1, 0] = float("nan")

    with pytest.raises(ArtifactError, match=r"conv4\.weight holds NaN"):
        onnx_from_checkpoint(checkpoint)


def test_opsets_that_are_not_supported_are_refused() -> None:
    with pytest.raises(UsageError, match="choose one from 18 to 23"):
        onnx_from_checkpoint(seeded_checkpoint("deep_half"), opset=17)


def test_a_graph_that_breaks_the_rules_of_onnx_is_refused() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(exported("deep_half"))
    model.graph.node[1].op_type = "Reshape"  # which takes a second input

    with pytest.raises(ArtifactError, match="breaks ONNX's rules"):
        check_model(model)


def _dimensions(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
