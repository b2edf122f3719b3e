"""Calibration of a real graph: against ONNX Runtime's own tensors and calibrator, in bounded memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization.calibrate import CalibrationDataReader, MinMaxCalibrater

from engine_bundles import TINY, tiny_model
from saliency_edge.calib.calibrate import Calibrator, check_frames, frame_hash
from saliency_edge.calib.graph import CalibratedModel, load_model, model_hash, observed_tensors
from saliency_edge.calib.ranges import ActivationRanges
from saliency_edge.runtime.errors import ArtifactError, ContractError, InputError
from seeded_networks import exported
from toy_models import save_toy

Frames = list[np.ndarray]


def calibrated(model: CalibratedModel, frames: Frames) -> ActivationRanges:
    calibrator = Calibrator(model)
    for frame in frames:
        calibrator.add(frame)
    return calibrator.ranges()


def all_values(model: CalibratedModel, frames: Frames) -> dict[str, np.ndarray]:
    """Compute every observed tensor of all frames at once, without our code."""
    graph = onnx.ModelProto()
    graph.CopyFrom(model.graph)
    names = [node.input[0] for node in graph.graph.node if node.op_type == "Conv"]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(names, {"frame": frame[None]}) for frame in frames]
    return {name: np.stack([run[place] for run in runs]) for place, name in enumerate(names)}


class Reader(CalibrationDataReader):
    def __init__(self, frames: Frames) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, np.ndarray] | None:
        frame = next(self._frames, None)
        return None if frame is None else {"frame": frame[None]}


def test_observed_are_the_inputs_of_convolutions_and_of_concats() -> None:
    model = exported("mlnet")  # the network with a Concat
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    (concat,) = [node for node in model.graph.node if node.op_type == "Concat"]
    names = observed_tensors(model)

    assert set(names) == {node.input[0] for node in convolutions} | set(concat.input)
    assert len(names) == len(set(names))


def test_ranges_are_those_of_all_values_at_once(model: CalibratedModel, photographs: Frames) -> None:
    ranges = calibrated(model, photographs)
    expected = all_values(model, photographs)

    assert set(ranges.tensors) == set(expected)
    for name, tensor in ranges.tensors.items():
        values = expected[name]
        assert (tensor.minimum, tensor.maximum) == pytest.approx((values.min(), values.max()), rel=1e-5), name
        assert tensor.thresholds["percentile_99.9"] == pytest.approx(
            np.percentile(np.abs(values), 99.9), rel=5e-3
        ), name


def test_extrema_are_onnxruntimes_calibrators(
    model_onnx: Path, model: CalibratedModel, photographs: Frames, tmp_path: Path
) -> None:
    calibrator = MinMaxCalibrater(model_onnx, ["Conv"], augmented_model_path=str(tmp_path / "augmented.onnx"))
    calibrator.augment_graph()
    calibrator.create_inference_session()
    calibrator.collect_data(Reader(photographs))
    expected = calibrator.compute_data()

    for name, tensor in calibrated(model, photographs).tensors.items():
        extrema = [float(np.squeeze(value)) for value in expected[name].range_value]
        assert [tensor.minimum, tensor.maximum] == pytest.approx(extrema, rel=1e-5)


def test_the_same_frames_in_another_order_give_the_same_bytes(
    model: CalibratedModel, photographs: Frames, tmp_path: Path
) -> None:
    calibrated(model, photographs).save(tmp_path / "first.json")
    calibrated(model, photographs[::-1]).save(tmp_path / "second.json")

    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


def test_a_fixed_batch_gives_the_same_ranges(
    model: CalibratedModel, photographs: Frames, tmp_path: Path
) -> None:
    onnx.save(tiny_model(replace(TINY, batch=(2, 2))), tmp_path / "batch.onnx")
    batched = calibrated(load_model(tmp_path / "batch.onnx"), photographs)

    for name, tensor in calibrated(model, photographs).tensors.items():
        assert batched.tensors[name].thresholds == pytest.approx(tensor.thresholds, rel=1e-4)
    assert batched.key == calibrated(model, photographs).key


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_frames(model: CalibratedModel, photographs: Frames) -> None:
    calibrator = Calibrator(model)
    for frame in photographs:
        calibrator.add(frame)
    before_mib = resident_mib()
    for frame in photographs * 24:
        calibrator.add(frame)
    grown_mib = resident_mib() - before_mib
    of_one_frame = sum(values[0].nbytes for values in all_values(model, photographs[:1]).values()) / 2**20
    to_keep_all_mib = of_one_frame * 24 * len(photographs)

    assert to_keep_all_mib > 100
    assert grown_mib < to_keep_all_mib / 6, f"{grown_mib:.0f} MiB of {to_keep_all_mib:.0f} MiB"


def test_nan_names_the_tensor(model: CalibratedModel, photographs: Frames) -> None:
    poisoned = replace(model, graph=tiny_model(TINY, poison=np.nan))

    with pytest.raises(ArtifactError, match=r"conv2\.relu becomes NaN or infinite on frame 1"):
        calibrated(poisoned, photographs)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([np.zeros((32, 48, 3), np.uint8)] * 40, "40 of 40 frames show nothing"),
        ([np.full((32, 48, 3), level, np.uint8) for level in range(40)], "40 of 40 frames show nothing"),
        ([np.arange(32 * 48 * 3, dtype=np.uint8).reshape(32, 48, 3)] * 40, "1 different frames"),
        ([], "0 different frames"),
    ],
    ids=["black", "one_colour", "one_frame", "none"],
)
def test_frames_that_cannot_calibrate_are_refused(frames: Frames, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_frames(frames)


def test_frames_are_named_by_their_pixels(photographs: Frames) -> None:
    hashes = check_frames(iter(photographs))
    other = photographs[0].copy()
    other[3, 4, 1] ^= 1

    assert hashes == tuple(sorted(hashes))
    assert frame_hash(photographs[0]) in hashes
    assert frame_hash(other) not in hashes


def test_the_hash_is_of_what_ranges_depend_on() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(tiny_model(TINY))
    found = model_hash(model)
    model.producer_version, model.doc_string = "other", "other"
    model.opset_import[0].version += 1
    onnx.helper.set_model_props(model, {"anything": "else"})
    model.graph.node[-1].name = "another name behind the last convolution"

    assert model_hash(model) == found
    assert model_hash(tiny_model(replace(TINY, batch=(2, 2)))) == found
    model.graph.node[2].attribute[0].name = "another attribute"
    assert model_hash(model) != found


def test_what_is_no_fp32_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ArtifactError, match="no such model"):
        load_model(tmp_path / "missing.onnx")
    with pytest.raises(ArtifactError, match="damaged or no ONNX model"):
        load_model(tmp_path / "text.onnx")
    with pytest.raises(ContractError, match="nothing to calibrate"):
        Calibrator(load_model(save_toy(tmp_path / "toy.onnx")))
