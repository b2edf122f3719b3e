"""ONNX Runtime's maps against hand-computed ones, and files that are not what they should be."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.contract import METADATA_KEY
from saliency_edge.runtime.errors import ArtifactError, BackendError, ContractError
from toy_models import SIZE_HW, noise, save_toy, toy_contract, toy_map, toy_model


def test_map_of_known_cells(tmp_path: Path) -> None:
    frame = np.zeros((1, *SIZE_HW, 3), np.uint8)
    frame[0, :8, 8:16] = 255  # one whole cell: row 0, column 1
    frame[0, 16:, 24:28] = 102  # half a cell: row 2, column 3
    expected = np.zeros((1, 3, 4))
    expected[0, 0, 1], expected[0, 2, 3] = 1.0, 0.2

    with closing(OnnxRuntimeModel.load(save_toy(tmp_path / "toy.onnx"))) as engine:
        maps = engine.infer(frame)

    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_contract_and_description_come_from_the_file(tmp_path: Path) -> None:
    contract = toy_contract(precision="fp16", fit="pad", batch=(1, 4))

    with closing(OnnxRuntimeModel.load(save_toy(tmp_path / "toy.onnx", contract))) as engine:
        assert engine.contract == contract
        assert engine.description.startswith("ONNX Runtime ")
        assert engine.description.endswith(("CPU, fp16", "CUDA, fp16"))


@pytest.mark.parametrize("threads", [None, 1])
def test_batches_of_a_dynamic_model(tmp_path: Path, threads: int | None) -> None:
    path = save_toy(tmp_path / "toy.onnx", toy_contract(batch=(1, 4)))
    frames = np.stack([noise(SIZE_HW, seed) for seed in range(3)])

    with closing(OnnxRuntimeModel.load(path, threads=threads)) as engine:
        maps = engine.infer(frames)

    np.testing.assert_allclose(maps, [toy_map(frame) for frame in frames], atol=1e-6)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((2, *SIZE_HW, 3), np.uint8),
        np.zeros((1, *SIZE_HW, 3), np.float32),
        np.zeros((*SIZE_HW, 3), np.uint8),
    ],
    ids=["size", "batch", "dtype", "no batch"],
)
def test_frames_that_the_contract_excludes(tmp_path: Path, frames: np.ndarray) -> None:
    with (
        closing(OnnxRuntimeModel.load(save_toy(tmp_path / "toy.onnx"))) as engine,
        pytest.raises(ContractError, match=r"toy takes uint8 frames \(1 to 1, 24, 32, 3\), found"),
    ):
        engine.infer(frames)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n" * 20, toy_model(toy_contract()).SerializeToString()[:200], b"\x08"],
    ids=["empty", "text", "cut off", "one byte"],
)
def test_damaged_file_is_refused_in_one_line(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "toy.onnx"
    path.write_bytes(content)

    with pytest.raises(ArtifactError, match=r"toy\.onnx is damaged or no ONNX model") as raised:
        OnnxRuntimeModel.load(path)

    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_good_file_loads_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    OnnxRuntimeModel.load(save_toy(tmp_path / "toy.onnx")).close()

    assert capfd.readouterr() == ("", "")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        OnnxRuntimeModel.load(tmp_path / "none.onnx")


def test_model_without_contract(tmp_path: Path) -> None:
    model = toy_model(toy_contract())
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")

    with pytest.raises(ContractError, match=r"carries no saliency contract\. Make it with saliency-export"):
        OnnxRuntimeModel.load(tmp_path / "foreign.onnx")


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ({"size_hw": (48, 64)}, "its contract says"),
        ({"map_size_hw": (24, 32)}, "its contract says"),
        ({"batch": (2, 2)}, "takes batches of 1, its contract says 2 to 2"),
        ({"batch": (1, 8)}, "takes batches of 1, its contract says 1 to 8"),
    ],
)
def test_graph_that_breaks_its_contract(
    tmp_path: Path, lie: dict[str, tuple[int, int]], message: str
) -> None:
    contract = toy_contract()
    model = toy_model(contract)
    onnx.helper.set_model_props(model, {METADATA_KEY: replace(contract, **lie).to_json()})
    onnx.save(model, tmp_path / "toy.onnx")

    with pytest.raises(ContractError, match=message):
        OnnxRuntimeModel.load(tmp_path / "toy.onnx")


def test_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_toy(tmp_path / "toy.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(BackendError, match=r"pip install 'saliency-edge\[onnxruntime\]'"):
        OnnxRuntimeModel.load(path)
