"""Distillation: teachers' maps on disk, keyed by the teachers' content."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from saliency_edge.runtime.errors import ArtifactError, ContractError
from saliency_edge.runtime.fit import fit_frame
from saliency_edge.train.datasets.read_sample import read_density
from saliency_edge.train.distill import MAP_HW, distilled_dataset, load_teacher, mean_density
from toy_models import save_toy, toy_contract, toy_map


def write_teacher(path: Path, channel: int, shape: tuple[int, ...] = (1, 3, 24, 32)) -> Path:
    """Write a predictor that sees one channel of RGB, halved: its map is that channel's brightness."""
    starts, ends = (
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("starts", channel), ("ends", channel + 1))
    )
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Slice", ["rgb", "starts", "ends", "axes"], ["one"]),
        helper.make_node("AveragePool", ["one"], ["map"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("rgb", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, (1, 1, shape[2] // 2, shape[3] // 2))],
        [starts, ends, axes],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    photograph = np.zeros((48, 64, 3), np.uint8)
    photograph[8:16, 40:56] = (0, 0, 200)  # red
    cv2.imwrite(str(folder / "red.png"), photograph)
    return folder


def test_a_teacher_sees_rgb(photographs, tmp_path):
    red, blue = write_teacher(tmp_path / "red.onnx", 0), write_teacher(tmp_path / "blue.onnx", 2)
    photograph = cv2.imread(str(photographs / "red.png"))
    density = load_teacher(red).density(photograph)
    assert density.shape == (12, 16)
    assert np.unravel_index(density.argmax(), density.shape) == (2, 10)
    assert not load_teacher(blue).density(photograph).any()


def test_the_mean_weighs_teachers_equally(photographs, tmp_path):
    class Flat:
        def __init__(self, level):
            self.level = level

        def density(self, photograph):
            return np.full(photograph.shape[:2], self.level, np.float32)

    red = load_teacher(write_teacher(tmp_path / "red.onnx", 0))
    photograph = cv2.imread(str(photographs / "red.png"))
    faint, loud = (mean_density([red, Flat(level)], photograph) for level in (1e-3, 1e3))
    np.testing.assert_allclose(faint, loud, rtol=1e-5)
    assert faint.shape == MAP_HW
    assert faint.max() == 1


def test_maps_are_computed_once_and_kept_by_the_teachers_content(photographs, tmp_path):
    cache = tmp_path / "cache"
    red, blue = write_teacher(tmp_path / "red.onnx", 0), write_teacher(tmp_path / "blue.onnx", 2)
    first = distilled_dataset(photographs, [red], cache).samples[0]
    stamp = first.map_file.stat().st_mtime_ns
    assert distilled_dataset(photographs, [red], cache).samples[0].map_file.stat().st_mtime_ns == stamp
    other = distilled_dataset(photographs, [red, blue], cache).samples[0]
    assert other.map_file != first.map_file
    density = read_density(first, (48, 64))
    expected = density > 0.5
    rows, columns = np.nonzero(expected)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 50, 69)


def test_what_is_no_teacher_is_refused(tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    with pytest.raises(ArtifactError, match="no ONNX model"):
        load_teacher(text)
    with pytest.raises(ContractError, match=r"a teacher takes RGB \(1, 3, H, W\)"):
        load_teacher(write_teacher(tmp_path / "grey.onnx", 0, (1, 1, 24, 32)))


@pytest.mark.parametrize("batch", [(1, 1), (2, 4)])
def test_a_bundles_model_teaches_as_it_runs(photographs, tmp_path, batch):
    contract = toy_contract(batch=batch, fit="pad")
    photograph = cv2.imread(str(photographs / "red.png"))

    density = load_teacher(save_toy(tmp_path / "toy.onnx", contract)).density(photograph)

    expected = toy_map(fit_frame(photograph, contract.size_hw, "pad"))
    np.testing.assert_allclose(density, expected, atol=1e-6)
