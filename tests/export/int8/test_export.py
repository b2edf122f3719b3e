"""saliency-export --int8 from weights to the bundle, and what is left where the gate is shut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from saliency_edge.export.export_checkpoint import ExportPlan, export_checkpoint
from saliency_edge.export.int8.options import Int8Options, SearchBudget
from saliency_edge.export.int8.results import GateLimits
from saliency_edge.export.tensorrt.build import EnginePlan
from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.contract import Precision
from saliency_edge.runtime.errors import ParityError
from seeded_networks import save_seeded
from toy_models import noise

pytestmark = pytest.mark.slow

OPEN = GateLimits(
    cc_mean=0, cc_worst=0, kldiv_mean=100, kldiv_worst=100, peak_shift_p95=1000, edge_cases=1000
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ExportPlan:
    folder = tmp_path_factory.mktemp("int8")
    (folder / "frames").mkdir()
    for number in range(20):
        assert cv2.imwrite(str(folder / "frames" / f"{number:02d}.png"), noise((48, 64), number))
    options = Int8Options(limits=OPEN, budget=SearchBudget(frames=1, sets=1), calib=folder / "frames")
    return ExportPlan(
        weights=save_seeded(folder / "seeded.safetensors"),
        network=None,
        size_hw=None,
        output=folder / "bundle",
        precisions=("int8",),
        batch=(1, 1),
        opset=19,
        engines=EnginePlan(flavour="none", targets=()),
        int8=options,
    )


def export(plan: ExportPlan) -> tuple[Path, dict[str, Any], list[str]]:
    lines: list[str] = []
    bundle = export_checkpoint(plan, lines.append).bundle
    return bundle, json.loads((bundle / "manifest.json").read_text(encoding="utf-8")), lines


def test_bundle_tells_the_gate_and_each_layers_reason(plan: ExportPlan) -> None:
    bundle, manifest, lines = export(plan)
    layers = manifest["int8"]["layers"]

    assert set(manifest["models"]) == {"fp32", "fp16", "int8"}
    assert manifest["lineage"]["ranges_sha256"] == sha256_of(bundle / "int8.ranges.json")
    assert manifest["int8"]["passed"]
    assert [layer["precision"] for layer in layers] == ["int8"] * 8 + ["float"]
    assert all(layer["reason"] for layer in layers)
    report = json.loads((bundle / "report.json").read_text(encoding="utf-8"))
    assert report["temporal"] == manifest["temporal"]
    assert set(manifest["temporal"]["graphs"]) == {"fp32", "int8"}
    assert report["gate"]["figures"] == manifest["int8"]["figures"]
    assert report["frames"][0]["name"] == manifest["int8"]["figures"]["worst_frames"][0]
    assert report["calibration"]["audit"]["frames"]["frames"] == 20
    worst = report["frames"][0]["agreement"]["int8"]["cc"]
    assert worst == pytest.approx(manifest["int8"]["figures"]["cc_worst"], abs=1e-5)
    assert "int8 passes the gate" in (bundle / "report.html").read_text(encoding="utf-8")
    assert any(line.startswith("On the clip big_buck_bunny.mp4, int8 flickers") for line in lines)
    assert any(line.startswith("int8 gate against PyTorch on 5 frames") for line in lines), lines
    assert any(line.startswith("  int8 ") for line in lines)
    assert any("conv9: computes the map" in line for line in lines)
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_same_inputs_give_the_same_models(plan: ExportPlan) -> None:
    first, second = (
        export(replace(plan, output=plan.weights.parent / name))[1]["models"] for name in ("one", "two")
    )

    assert first == second


@pytest.mark.parametrize("precisions", [("int8",), ("fp16", "int8")])
def test_int8_that_fails_its_gate_leaves_fp16_and_fails(
    plan: ExportPlan, tmp_path: Path, precisions: tuple[Precision, ...]
) -> None:
    shut = replace(plan.int8, limits=replace(OPEN, cc_mean=2.0))
    output = tmp_path / "bundle"

    with pytest.raises(ParityError, match="holds fp16 alone: no int8 graph passes the gate"):
        export(replace(plan, int8=shut, output=output, precisions=precisions))
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["models"]) == {"fp32", "fp16"}
    assert not manifest["int8"]["passed"]
    assert "int8 does not pass the gate" in (output / "report.html").read_text(encoding="utf-8")
