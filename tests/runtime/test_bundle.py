"""A bundle is whole, or it is refused in one line that says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saliency_edge.runtime.bundle import Bundle
from saliency_edge.runtime.errors import ArtifactError, UsageError
from toy_models import save_toy_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_toy_bundle(tmp_path / "toy")


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_whole_bundle_gives_its_files(folder: Path) -> None:
    with Bundle.open(folder) as bundle:
        assert bundle.network == "toy"
        assert bundle.model("fp32") == folder / "fp32.onnx"
        assert bundle.model("fp16") == folder / "fp16.onnx"
        assert bundle.golden_file() == folder / "golden.npz"
        assert bundle.manifest["size_hw"] == [24, 32]


def test_default_precision_is_the_one_that_ships(tmp_path: Path, folder: Path) -> None:
    assert Bundle.open(folder).precision_or_default(None) == "fp16"
    assert Bundle.open(save_toy_bundle(tmp_path / "b", ["fp32"])).precision_or_default(None) == "fp32"


def test_absent_precision_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"holds fp32, fp16, not int8.*saliency-export --int8 --network toy"):
        Bundle.open(folder).model("int8")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            flip_a_bit,
            r"toy/fp16.onnx is damaged: sha256 \w{8}… is not the manifest's \w{8}…. Export it again",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), r"damaged: \d+ bytes, the manifest says \d+"),
        (lambda path: path.write_bytes(b""), r"fp16.onnx is damaged: 0 bytes"),
        (lambda path: path.unlink(), r"fp16.onnx is missing. Export it again: saliency-export --fp16"),
    ],
)
def test_damaged_model_is_refused(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder / "fp16.onnx")

    bundle = Bundle.open(folder)
    assert bundle.model("fp32").is_file()
    with pytest.raises(ArtifactError, match=message):
        bundle.model("fp16")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda manifest: manifest.update(schema=2), "schema is 2, expected 1"),
        (lambda manifest: manifest.pop("models"), "the manifest: missing field models"),
        (lambda manifest: manifest.update(models={}), "holds no model"),
        (
            lambda manifest: manifest["models"]["fp16"].pop("sha256"),
            "the manifest: models.*missing field sha256",
        ),
        (lambda manifest: manifest["models"]["fp16"].update(file="../x.onnx"), "is no file name"),
    ],
)
def test_manifest_that_cannot_be_used(
    folder: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit_manifest(folder, edit)

    with pytest.raises(ArtifactError, match=message):
        Bundle.open(folder)


def test_manifest_that_is_no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text("{", encoding="utf-8")

    with pytest.raises(ArtifactError, match="is not JSON"):
        Bundle.open(folder)


@pytest.mark.parametrize("root", ["toy", "."], ids=["the folder", "its content"])
def test_zipped_bundle(tmp_path: Path, folder: Path, root: str) -> None:
    path = Path(
        shutil.make_archive(str(tmp_path / "z"), "zip", tmp_path, "toy")
        if root == "toy"
        else shutil.make_archive(str(tmp_path / "z"), "zip", folder)
    )

    with Bundle.open(path) as bundle:
        model = bundle.model("fp16")
        assert model.read_bytes() == (folder / "fp16.onnx").read_bytes()
    assert not model.exists()


def test_zip_without_manifest(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    path = Path(shutil.make_archive(str(tmp_path / "z"), "zip", tmp_path / "empty"))

    with pytest.raises(ArtifactError, match=r"holds no manifest\.json"):
        Bundle.open(path)


def test_text_called_zip(tmp_path: Path) -> None:
    path = tmp_path / "toy.zip"
    path.write_text("hello", encoding="utf-8")

    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        Bundle.open(path)


def test_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such bundle"):
        Bundle.open(tmp_path / "none")
