"""The ranges' file: whole, small, and refused for any content but its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine_bundles import TINY, tiny_model
from saliency_edge.calib.calibrate import Calibrator, check_frames
from saliency_edge.calib.graph import CalibratedModel, observed_tensors
from saliency_edge.calib.ranges import OBSERVERS, ActivationRanges, shipped_ranges
from saliency_edge.export.to_onnx import onnx_from_checkpoint
from saliency_edge.runtime.errors import ArtifactError, ContractError
from saliency_edge.train.checkpoint import load_checkpoint, shipped_weights

Frames = list[np.ndarray]
SHIPPED = ("deep_half", "mlnet", "mlnet_small", "lite2")


@pytest.fixture
def ranges(model: CalibratedModel, photographs: Frames) -> ActivationRanges:
    calibrator = Calibrator(model)
    for frame in photographs[:8]:
        calibrator.add(frame)
    return calibrator.ranges()


def test_what_is_saved_is_read_again(ranges: ActivationRanges, tmp_path: Path) -> None:
    ranges.save(tmp_path / "first.json")
    read = ActivationRanges.load(tmp_path / "first.json")
    read.save(tmp_path / "second.json")

    assert (read.key, read.frames) == (ranges.key, ranges.frames)
    for name, tensor in ranges.tensors.items():
        assert read.tensors[name].thresholds == pytest.approx(tensor.thresholds, rel=1e-5), name
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


def test_their_own_graph_frames_and_method_pass(
    ranges: ActivationRanges, model: CalibratedModel, photographs: Frames
) -> None:
    ranges.check(model.graph)
    ranges.check(tiny_model(replace(TINY, batch=(4, 4))), check_frames(photographs[:8]))


def test_one_changed_frame_is_refused(
    ranges: ActivationRanges, model: CalibratedModel, photographs: Frames
) -> None:
    frames = [frame.copy() for frame in photographs[:8]]
    frames[5][0, 0, 0] ^= 1

    with pytest.raises(ContractError, match="made from 8 frames, of which 7 are among the 8 given"):
        ranges.check(model.graph, check_frames(frames))


def test_other_weights_are_refused(ranges: ActivationRanges, model: CalibratedModel) -> None:
    weight = next(tensor for tensor in model.graph.graph.initializer if tensor.name == "conv3.weight")
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nextafter(values.flat[0], np.float32(np.inf))
    weight.CopyFrom(numpy_helper.from_array(values, "conv3.weight"))

    with pytest.raises(ContractError, match="made for weights"):
        ranges.check(model.graph)


def test_another_graph_of_these_weights_is_refused(ranges: ActivationRanges, model: CalibratedModel) -> None:
    relu = next(node for node in model.graph.graph.node if node.name == "conv2.relu")
    relu.op_type = "Abs"

    with pytest.raises(ContractError, match=r"same weights\. Compute them again: saliency-calib ranges"):
        ranges.check(model.graph)


def test_another_size_is_refused(ranges: ActivationRanges) -> None:
    larger = tiny_model(replace(TINY, size_hw=(48, 64), map_size_hw=(48, 64)))

    with pytest.raises(ContractError, match="made for frames of 32x48, the model takes 48x64"):
        ranges.check(larger)


def test_another_method_is_refused(ranges: ActivationRanges, model: CalibratedModel) -> None:
    older = replace(ranges, key=replace(ranges.key, method="by eye"))

    with pytest.raises(ContractError, match="made by the method 'by eye'"):
        older.check(model.graph)


def test_other_versions_of_libraries_pass(ranges: ActivationRanges, model: CalibratedModel) -> None:
    replace(ranges, key=replace(ranges.key, versions={"numpy": "9"})).check(model.graph)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content.pop("key"), "missing field key"),
        (lambda content: content.update(schema=0), "of this version: schema is 0, expected 1"),
        (
            lambda content: content["tensors"]["conv2.relu"]["thresholds"].pop("mse"),
            "conv2.relu has no threshold of mse",
        ),
        (
            lambda content: content["tensors"]["conv2.relu"]["thresholds"].update(mse=0),
            r"tensors\[\.\.\.\].thresholds\[\.\.\.\]: expected float > 0",
        ),
        (lambda content: content["key"].update(colour="blue"), r"unknown field key\.colour"),
    ],
    ids=["no_key", "schema", "no_observer", "zero", "unknown_field"],
)
def test_a_damaged_file_is_refused(ranges: ActivationRanges, tmp_path: Path, damage, reason) -> None:
    path = tmp_path / "ranges.json"
    ranges.save(path)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))

    with pytest.raises(ArtifactError, match=reason):
        ActivationRanges.load(path)


@pytest.mark.parametrize("network", SHIPPED)
def test_shipped_ranges_are_of_the_shipped_weights(network: str) -> None:
    path = shipped_ranges(network)
    assert path is not None
    ranges = ActivationRanges.load(path)
    model: onnx.ModelProto = onnx_from_checkpoint(load_checkpoint(shipped_weights(network), network=network))

    ranges.check(model)
    assert set(ranges.tensors) == set(observed_tensors(model))
    assert all(set(tensor.thresholds) == set(OBSERVERS) for tensor in ranges.tensors.values())
    assert path.stat().st_size < 64 * 1024


def test_no_ranges_ship_for_a_network_without_weights() -> None:
    assert shipped_ranges("deep_full") is None
