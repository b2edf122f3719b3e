"""Which backend loads which file, and files that nothing loads."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine_files import save_toy_engine
from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.errors import ArtifactError, SaliencyError, UsageError
from toy_models import SIZE_HW, noise, save_toy, save_toy_bundle, toy_map


@pytest.mark.parametrize(("precision", "loaded"), [(None, "fp16"), ("fp16", "fp16"), ("fp32", "fp32")])
def test_bundle(tmp_path: Path, precision: str | None, loaded: str) -> None:
    folder = save_toy_bundle(tmp_path / "toy")
    frame = noise(SIZE_HW, 3)

    with closing(load_model(folder, precision)) as engine:
        assert engine.contract.precision == loaded
        np.testing.assert_allclose(engine.infer(frame[np.newaxis])[0], toy_map(frame), atol=1e-6)


def test_onnx_file(tmp_path: Path) -> None:
    path = save_toy(tmp_path / "toy.onnx")

    load_model(path).close()
    load_model(path, "fp32").close()
    with pytest.raises(UsageError, match=r"toy\.onnx is fp32, not fp16"):
        load_model(path, "fp16")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path, str], int], tuple[Path, str]]:
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.pkl", "w.onnx", "w.safetensors", "w.engine", "w"])
@pytest.mark.parametrize("zipped", [False, True], ids=["bare", "zipped as torch does"])
def test_pickles_are_refused_and_not_loaded(tmp_path: Path, name: str, zipped: bool) -> None:
    path, sprung = tmp_path / name, tmp_path / "sprung"
    content = pickle.dumps(Trap(sprung))
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)

    with pytest.raises(ArtifactError, match=f"{name} is a pickle.*refused"):
        load_model(path)
    assert not sprung.exists()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def damaged_engine(path: Path) -> None:
    save_toy_engine(path, sha256="12ab34cd" * 8)


def engine_of_another_version(path: Path) -> None:
    save_toy_engine(path)
    path.with_suffix(".receipt.json").write_text(json.dumps({"sha256": sha256_of(path)}), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "make", "kind", "message"),
    [
        ("none", Path.exists, ArtifactError, "no such model"),
        ("toy.onnx", empty, ArtifactError, "toy.onnx is empty"),
        ("toy.engine", empty, ArtifactError, "toy.engine is empty"),
        ("toy.safetensors", empty, ArtifactError, "toy.safetensors is empty"),
        (
            "toy.engine",
            lambda path: path.write_bytes(b"x"),
            ArtifactError,
            "has no toy.receipt.json beside it. Rebuild it: saliency-export",
        ),
        (
            "toy.engine",
            damaged_engine,
            ArtifactError,
            "sha256 .* is not the receipt's 12ab34cd…. Rebuild it: saliency-export",
        ),
        (
            "toy.engine",
            engine_of_another_version,
            ArtifactError,
            "not a receipt of an engine of this version: .* Rebuild it: saliency-export",
        ),
        (
            "toy.tflite",
            lambda path: path.write_bytes(b"x"),
            UsageError,
            r"expected a bundle .*\.onnx, \.engine",
        ),
        ("toy", lambda path: path.mkdir(), ArtifactError, "is no bundle: it holds no manifest.json"),
    ],
)
def test_model_that_cannot_be_loaded(
    tmp_path: Path, name: str, make: Callable[[Path], None], kind: type[SaliencyError], message: str
) -> None:
    path = tmp_path / name
    make(path)

    with pytest.raises(kind, match=message) as raised:
        load_model(path)
    assert "\n" not in str(raised.value)


def test_truncated_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="checkpoints are loaded by PyTorch")
    path = tmp_path / "toy.safetensors"
    path.write_bytes((1000).to_bytes(8, "little") + b'{"__metadata__":')

    with pytest.raises(ArtifactError, match=r"toy\.safetensors"):
        load_model(path)
