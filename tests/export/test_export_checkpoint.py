"""From a checkpoint to a bundle: what lies in it, what it is held against, and what is left when it fails."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import numpy_helper

from saliency_edge.export import export_checkpoint as module
from saliency_edge.export import to_onnx
from saliency_edge.export.export_checkpoint import ExportPlan, export_checkpoint
from saliency_edge.export.tensorrt.build import EnginePlan
from saliency_edge.export.tensorrt.library import Flavour
from saliency_edge.export.to_onnx import onnx_from_checkpoint
from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.bundle import Bundle
from saliency_edge.runtime.errors import BackendError, BuildError, OutputError, ParityError, UsageError
from saliency_edge.train.checkpoint import load_checkpoint
from seeded_networks import SMALL_HW, save_seeded, torch_maps
from tolerances import MAX_ABS

SIZE_HW = SMALL_HW["deep_half"]
NO_ENGINES = EnginePlan(flavour="none", targets=())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_seeded(tmp_path_factory.mktemp("weights") / "seeded.safetensors")


def say_nothing(_line: str) -> None:
    """Take no notice."""


def plan_of(weights: Path, output: Path) -> ExportPlan:
    return ExportPlan(
        weights=weights,
        network=None,
        size_hw=None,
        output=output,
        precisions=("fp16",),
        batch=(1, 4),
        opset=19,
        engines=NO_ENGINES,
    )


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What the export below has said."""
    return []


@pytest.fixture(scope="module")
def exported(weights: Path, lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, not to be changed."""
    output = tmp_path_factory.mktemp("bundles") / "seeded"
    export_checkpoint(plan_of(weights, output), lines.append)
    return output


def manifest_of(bundle: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def test_bundle_holds_what_the_manifest_says(exported: Path) -> None:
    manifest = manifest_of(exported)
    entries = [*manifest["models"].values(), manifest["golden"]]

    assert {path.name for path in exported.iterdir()} == {
        *("manifest.json", "report.html", "report.json"),
        *(entry["file"] for entry in entries),
    }
    for entry in entries:
        path = exported / entry["file"]
        assert (entry["sha256"], entry["bytes"]) == (sha256_of(path), path.stat().st_size)


def test_report_is_of_this_bundle(exported: Path) -> None:
    manifest = manifest_of(exported)
    report = json.loads((exported / "report.json").read_text(encoding="utf-8"))

    names = ("models", "golden", "lineage", "reference", "tools")
    assert report["lineage"] == {name: manifest[name] for name in names}
    assert report["parity"] == manifest["parity"]
    assert {frame["name"] for frame in report["frames"]} <= set(manifest["parity"]["fp16"]["frames"])
    page = (exported / "report.html").read_text(encoding="utf-8")
    assert "fp16 agrees with the fp32 maps of PyTorch" in page


def test_manifest_tells_contract_and_lineage(exported: Path, weights: Path) -> None:
    manifest = manifest_of(exported)

    assert manifest["schema"] == 1
    assert manifest["network"] == "deep_half"
    assert manifest["size_hw"] == manifest["map_size_hw"] == list(SIZE_HW)
    assert (manifest["batch"], manifest["fit"]) == ([1, 4], "stretch")
    assert manifest["lineage"] == {"weights_sha256": sha256_of(weights), "record": {"seeded": True}}
    assert set(manifest["tools"]) == {"torch", "onnx", "onnxscript", "onnxruntime"}
    assert manifest["range_scan"]["kept_fp32"]["conv9"] == "computes the map"
    assert manifest["range_scan"]["max_abs"]["input.cast"] == 255
    assert set(manifest["parity"]) == {"fp32", "fp16", "fp16_rounded"}
    assert manifest["parity"]["fp32"]["worst"]["max_abs"] <= MAX_ABS["fp32"]


def test_runtime_opens_it_and_the_golden_maps_are_pytorchs(exported: Path, weights: Path) -> None:
    with Bundle.open(exported) as bundle:
        golden = np.load(bundle.golden_file(), allow_pickle=False)
        engine = OnnxRuntimeModel.load(bundle.model("fp16"))

    frames, maps = golden["frames"], golden["maps"]
    assert (frames.dtype, frames.shape[1:]) == (np.uint8, (*SIZE_HW, 3))
    assert 1 <= len(frames) == len(golden["names"]) <= 6
    assert_allclose(maps, torch_maps(load_checkpoint(weights), frames), rtol=0, atol=1e-5)
    assert_allclose(engine.infer(frames), maps, rtol=0, atol=MAX_ABS["fp16"])


def test_what_it_says_is_short_and_tells_all(lines: list[str], exported: Path) -> None:
    text = "\n".join(lines)

    assert "frame 36x48 to map 36x48, batch 1 to 4, opset 19" in lines[0]
    assert "ranges of 11 frames: up to" in lines[1]
    assert f"bundle {exported}: fp32.onnx" in lines[-1]
    for word in ("max abs", "mean abs", "SQNR", "CC", "KLDiv", "peak shift", "fp32 ", "fp16 "):
        assert word in text
    assert len(lines) <= 12
    assert max(len(line) for line in lines) <= 120 + len(str(exported))


def test_same_inputs_give_the_same_bundle_byte_for_byte(
    exported: Path, weights: Path, tmp_path: Path
) -> None:
    export_checkpoint(plan_of(weights, tmp_path / "again"), say_nothing)

    for path in exported.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_new_bundle_replaces_the_old_one_and_its_engines(weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    (output / "engines").mkdir(parents=True)
    (output / "engines" / "orin-tensorrt10.3-fp16.engine").write_bytes(b"of another graph")
    (output / "manifest.json").write_text("{}", encoding="utf-8")
    (output / "golden.npz").write_bytes(b"of another graph")

    export_checkpoint(replace(plan_of(weights, output), precisions=("fp32",)), say_nothing)

    assert {path.name for path in output.iterdir()} == {
        *("manifest.json", "fp32.onnx", "golden.npz", "report.html", "report.json")
    }
    assert list(tmp_path.iterdir()) == [output]


def test_out_of_tolerance_leaves_no_bundle_and_the_old_one(
    exported: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of the exported graph is wrong, as a faulty exporter would have it."""

    def faulty(*arguments: Any) -> onnx.ModelProto:
        model = onnx_from_checkpoint(*arguments)
        tensor = next(item for item in model.graph.initializer if item.name == "conv3.weight")
        values = numpy_helper.to_array(tensor).copy()
        values[:] = values[::-1]
        tensor.raw_data = values.tobytes()
        return model

    monkeypatch.setattr(to_onnx, "onnx_from_checkpoint", faulty)
    output = tmp_path / "bundle"
    said: list[str] = []
    with pytest.raises(ParityError, match="fp32 differs from PyTorch on 6 of 6 frames"):
        export_checkpoint(plan_of(weights, output), said.append)
    assert list(tmp_path.iterdir()) == []
    assert any("max abs" in line for line in said)

    old = (exported / "manifest.json").read_bytes()
    with pytest.raises(ParityError):
        export_checkpoint(plan_of(weights, exported), said.append)
    assert (exported / "manifest.json").read_bytes() == old


def test_a_build_that_fails_leaves_no_bundle(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: Any) -> None:
        raise BuildError("no Half layer found")

    monkeypatch.setattr(module, "build_all", failing)
    with pytest.raises(BuildError, match="Half"):
        export_checkpoint(plan_of(weights, tmp_path / "bundle"), say_nothing)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flavour", "targets", "expected"),
    [("tensorrt", (), BackendError), ("rtx", ("sm87",), UsageError), ("rtx", ("ampere",), UsageError)],
)
def test_engines_that_cannot_be_are_refused_before_any_work(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flavour: Flavour,
    targets: tuple[str, ...],
    expected: type[Exception],
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="asks it for its targets")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    engines = EnginePlan(flavour=flavour, targets=targets)
    said: list[str] = []

    with pytest.raises(expected, match=targets[0] if targets else "tensorrt"):
        export_checkpoint(replace(plan_of(weights, tmp_path / "bundle"), engines=engines), said.append)
    assert said == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names", [("photo.jpg",), ("manifest.json", "overlay.mp4"), ("fp32.onnx",), ("deep/photo.jpg",)]
)
def test_a_folder_that_is_no_bundle_is_not_replaced(
    weights: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"mine")

    with pytest.raises(OutputError, match="no part of a bundle"):
        export_checkpoint(plan_of(weights, tmp_path), say_nothing)
    assert all((tmp_path / name).read_bytes() == b"mine" for name in names)


def test_a_file_is_not_replaced(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(b"mine")

    with pytest.raises(OutputError, match="it is a file"):
        export_checkpoint(plan_of(weights, tmp_path / "bundle"), say_nothing)
    assert (tmp_path / "bundle").read_bytes() == b"mine"
