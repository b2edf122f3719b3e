"""`--check`: golden frames through whatever runs the model, held against PyTorch's maps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine_files import ORIN, save_engine_bundle, write_golden
from saliency_edge.runtime.backends import select
from saliency_edge.runtime.backends.backend import LoadOptions
from saliency_edge.runtime.backends.select import check_model
from saliency_edge.runtime.backends.tensorrt import bundled
from saliency_edge.runtime.backends.tensorrt.receipt import read_receipt
from saliency_edge.runtime.errors import ArtifactError, OutputError, ParityError, UsageError
from saliency_edge.runtime.metrics import kldiv
from saliency_edge.runtime.parity import GoldenFrame, GoldenReport, Tolerance
from tensorrt_double import Install
from toy_models import SIZE_HW, entry_of, noise, save_toy, save_toy_bundle, toy_map


def be_on_the_orin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "this_machine", lambda: ORIN)
    monkeypatch.setattr(select, "find_gpu", lambda: ORIN.gpu)


def test_figures_are_those_of_the_maps(tmp_path: Path) -> None:
    """The golden maps are half as bright as the network's: the difference is known, the correlation is 1."""
    folder = save_toy_bundle(tmp_path / "toy")
    write_golden(folder, scale=0.5)
    report = check_model(folder, "fp32")
    maps = [toy_map(noise(SIZE_HW, seed)) for seed in range(3)]

    assert report.engine.endswith("CPU, fp32")
    assert [frame.name for frame in report.frames] == ["a", "b", "c"]
    for frame, found in zip(report.frames, maps, strict=True):
        assert frame.max_abs == pytest.approx(found.max() / 2, abs=1e-6)
        assert frame.cc == pytest.approx(1, abs=1e-9)
        assert frame.kldiv == pytest.approx(kldiv(found, found / 2), abs=1e-6)
        assert frame.latency_ms > 0
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

    assert report.worst.max_abs < 1e-6
    assert report.to_json()["kept"] is True
    assert "agrees with PyTorch" in report.to_text()
    assert max(map(len, report.to_text().splitlines()[:-1])) <= 80


def test_an_engines_figures_land_in_its_receipt(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    be_on_the_orin(monkeypatch)
    engine = save_engine_bundle(tmp_path / "toy")
    for model in (engine, engine.parent.parent):
        report = check_model(model, None, LoadOptions(strict=True))
        record = read_receipt(engine).golden
        assert record is not None
        assert record.latency_ms == round(report.worst.latency_ms, 6)
        assert record.kept


def test_a_read_only_receipt_is_no_obstacle(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OutputError("cannot write")

    install()
    be_on_the_orin(monkeypatch)
    engine = save_engine_bundle(tmp_path / "toy")
    monkeypatch.setattr(bundled, "write_receipt", refuse)
    check_model(engine).check()
    assert read_receipt(engine).golden is None


def test_nan_is_outside(tmp_path: Path) -> None:
    folder = save_toy_bundle(tmp_path / "toy")
    write_golden(folder, scale=1.0)
    save_toy(folder / "lone.onnx", scale=float("nan"))
    report = check_model(folder / "lone.onnx")

    assert np.isinf(report.worst.max_abs)
    assert not report.kept


def test_a_model_outside_a_bundle_has_no_golden_frames(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lone\.onnx lies in no bundle"):
        check_model(save_toy(tmp_path / "lone.onnx"))


def test_junk_in_the_golden_files_place(tmp_path: Path) -> None:
    bundle = save_toy_bundle(tmp_path / "toy")
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (bundle / "golden.npz").write_bytes(b"golden")
    manifest["golden"] = entry_of(bundle / "golden.npz")
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    with pytest.raises(ArtifactError, match=r"golden\.npz holds no golden frames .*Export the bundle again"):
        check_model(bundle)


def test_the_worst_is_taken_of_each_figure() -> None:
    frames = (
        GoldenFrame(name="a", max_abs=0.1, cc=0.9, kldiv=0.2, latency_ms=1),
        GoldenFrame(name="b", max_abs=0.2, cc=0.8, kldiv=0.1, latency_ms=3),
    )
    report = GoldenReport(engine="e", tolerance=Tolerance(max_abs=0.15, min_cc=0.7), frames=frames)

    assert report.worst == GoldenFrame(name="worst", max_abs=0.2, cc=0.8, kldiv=0.2, latency_ms=2)
    assert not report.kept
    with pytest.raises(ParityError, match=r"on 1 of 2 .*most on b: max abs 0\.2 \(at most 0\.15\)"):
        report.check()
