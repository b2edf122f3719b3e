"""`--check`: golden frames through all that could run the model, compared with PyTorch's maps."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from engine_files import write_golden
from saliency_edge.runtime.backends.backend import LoadOptions
from saliency_edge.runtime.backends.records import RECORDS_NAME
from saliency_edge.runtime.backends.select import BackendReport, BackendRow, check_model
from saliency_edge.runtime.errors import ArtifactError, ParityError, UsageError
from saliency_edge.runtime.metrics import kldiv
from saliency_edge.runtime.parity import GoldenFrame, GoldenReport, Tolerance
from toy_models import SIZE_HW, entry_of, noise, save_toy, save_toy_bundle, toy_map

IN_ONNX_RUNTIME = LoadOptions(backend="onnxruntime")
IN_OPENVINO = LoadOptions(backend="openvino")


def rows_by_label(report: BackendReport) -> dict[str, BackendRow]:
    return {row.label: row for row in report.rows}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_figures_are_those_of_the_maps(tmp_path: Path, backend: str) -> None:
    """The golden maps are half as bright as the network's: the difference is known, the correlation is 1."""
    pytest.importorskip(backend, reason=f"no {backend} here")
    folder = save_toy_bundle(tmp_path / "toy")
    write_golden(folder, scale=0.5)
    report = check_model(folder, "fp32", LoadOptions(backend=backend))
    (row,) = report.rows
    maps = [toy_map(noise(SIZE_HW, seed)) for seed in range(3)]

    assert row.report is not None
    assert row.report.model.endswith("CPU, fp32")
    assert [frame.name for frame in row.report.frames] == ["a", "b", "c"]
    for frame, found in zip(row.report.frames, maps, strict=True):
        assert frame.max_abs == pytest.approx(found.max() / 2, abs=1e-6)
        assert frame.cc == pytest.approx(1, abs=1e-9)
        assert frame.kldiv == pytest.approx(kldiv(found, found / 2), abs=1e-6)
    assert row.report.latency_ms > 0
    with pytest.raises(ParityError, match=r"differs from PyTorch on 3 of 3 golden frames.*: max abs 0\."):
        report.check()


@pytest.mark.parametrize("name", ["", "fp16.onnx", "toy.zip"])
def test_models_in_a_bundle_agree(tmp_path: Path, name: str) -> None:
    folder = save_toy_bundle(tmp_path / "toy")
    write_golden(folder, scale=1.0)
    shutil.make_archive(str(folder.parent / "toy"), "zip", folder)
    model = folder.parent / name if name.endswith(".zip") else folder / name
    report = check_model(model)
    report.check()

    assert report.chosen is not None
    assert report.chosen.report is not None
    assert report.chosen.report.max_abs < 1e-6
    assert report.to_json()["chosen"] == report.chosen.label
    assert "passes, taken" in report.to_text()
    json.dumps(report.to_json())
    assert (folder / RECORDS_NAME).exists() == (not name.endswith(".zip"))


def test_the_table_has_every_backend_and_precision_and_why_not(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="no OpenVINO here")
    folder = save_toy_bundle(tmp_path / "toy")
    rows = rows_by_label(check_model(folder))

    assert {"ONNX Runtime fp32", "ONNX Runtime fp16", "OpenVINO fp32", "OpenVINO fp16"} <= set(rows)
    assert "need an NVIDIA GPU" in str(rows["TensorRT fp16"].problem)
    assert rows["PyTorch fp32"].report is None  # the toy has no checkpoint


def test_nan_is_outside(tmp_path: Path) -> None:
    folder = save_toy_bundle(tmp_path / "toy")
    write_golden(folder, scale=1.0)
    save_toy(folder / "fp32.onnx", scale=float("nan"))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["models"]["fp32"] = entry_of(folder / "fp32.onnx")
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (row,) = check_model(folder / "fp32.onnx", None, IN_ONNX_RUNTIME).rows

    assert row.report is not None
    assert math.isinf(row.report.max_abs)
    assert not row.passed


def test_a_model_outside_a_bundle_has_no_golden_frames(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lone\.onnx lies in no bundle"):
        check_model(save_toy(tmp_path / "lone.onnx"))


def test_a_damaged_model_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    folder = save_toy_bundle(tmp_path / "toy")
    (folder / "fp16.onnx").write_bytes(b"not what the manifest says")
    report = check_model(folder, None, IN_ONNX_RUNTIME)
    report.check()
    rows = rows_by_label(report)

    assert "fp16.onnx is damaged" in str(rows["ONNX Runtime fp16"].problem)
    assert rows["ONNX Runtime fp32"].passed


def test_junk_in_the_golden_files_place(tmp_path: Path) -> None:
    bundle = save_toy_bundle(tmp_path / "toy")
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (bundle / "golden.npz").write_bytes(b"golden")
    manifest["golden"] = entry_of(bundle / "golden.npz")
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    with pytest.raises(ArtifactError, match=r"golden\.npz cannot be read as \.npz .*Export the bundle again"):
        check_model(bundle)


def test_the_worst_is_taken_of_each_figure() -> None:
    allowed = Tolerance(max_abs=0.15, min_cc=0.7)
    frames = (
        GoldenFrame(name="a", max_abs=0.1, cc=0.9, kldiv=0.2, allowed=allowed),
        GoldenFrame(name="b", max_abs=0.2, cc=0.8, kldiv=0.1, allowed=allowed),
    )
    report = GoldenReport(model="m", frames=frames, latency_ms=2.0)

    assert (report.max_abs, report.cc, report.kldiv) == (0.2, 0.8, 0.2)
    assert not report.passed
    with pytest.raises(ParityError, match=r"on 1 of 2 .*most on b: max abs 0\.2 \(at most 0\.15\)"):
        report.check()
