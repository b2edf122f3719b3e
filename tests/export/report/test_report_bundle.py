"""From real graphs to a report: the worst frames are found, and their maps are the graphs' own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from report_findings import int8_result, manifest
from saliency_edge.export.int8.results import Int8Result
from saliency_edge.export.ort_session import ort_maps
from saliency_edge.export.parity import agreement, compare
from saliency_edge.export.range_scan import scan_ranges
from saliency_edge.export.report.page import SHOWN_FRAMES, Material, report_bundle
from saliency_edge.export.to_fp16 import kept_fp32, rounded_as_fp16
from saliency_edge.export.to_onnx import contract_of
from saliency_edge.runtime.contract import Precision
from seeded_networks import exported, frames_for, seeded_checkpoint, torch_maps

NETWORK = "deep_half"


@pytest.fixture(scope="module")
def material() -> Material:
    """An fp16 export of a seeded network."""
    checkpoint, fp32 = seeded_checkpoint(NETWORK), exported(NETWORK)
    contract, frames = contract_of(checkpoint, (1, 8)), frames_for(checkpoint, 2)
    references = torch_maps(checkpoint, frames.pixels)
    kept = kept_fp32(fp32, scan_ranges(fp32, contract, frames.pixels))
    rounded = rounded_as_fp16(fp32, kept)
    maps = ort_maps(rounded, contract, frames.pixels)
    parity = compare("fp16", frames.names, maps, references, rounded=True)
    return Material(
        contract=contract,
        manifest={
            **manifest(references[:3], ("fp32", "fp16")),
            "parity": {"fp16_rounded": parity.to_json()},
            "range_scan": {"kept_fp32": kept},
        },
        fp32=fp32,
        others={"fp16": rounded},
        frames=frames,
        references=references,
    )


def reported(folder: Path, material: Material) -> dict[str, Any]:
    report_bundle(folder, material)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def test_an_fp16_export_gets_a_report(material: Material, tmp_path: Path) -> None:
    report = reported(tmp_path, material)

    rows = material.manifest["parity"]["fp16_rounded"]["frames"]
    names = sorted(rows, key=lambda name: rows[name]["cc"])
    assert len(material.frames) > SHOWN_FRAMES
    assert [frame["name"] for frame in report["frames"]] == names[:SHOWN_FRAMES]
    shown = {frame["name"]: frame["agreement"]["fp16"]["cc"] for frame in report["frames"]}
    assert shown == pytest.approx({name: rows[name]["cc"] for name in shown}, abs=1e-6)
    assert [row["node"] for row in report["layers"]] == [f"conv{number}" for number in range(1, 10)] + [
        "deconv"
    ]
    assert 50 < report["layers"][0]["in_graph_db"]["fp16"] < 90
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_int8s_own_worst_frames_and_maps_are_shown(material: Material, tmp_path: Path) -> None:
    coarse = onnx.ModelProto()
    coarse.CopyFrom(material.fp32)
    for tensor in coarse.graph.initializer:
        if tensor.name == "conv4.weight":
            weights = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.rint(weights * 64) / np.float32(64), tensor.name))
    others: dict[Precision, onnx.ModelProto] = {**material.others, "int8": coarse}

    report = reported(tmp_path, replace(material, others=others, int8=worst_last(material)))

    place = len(material.frames) - 1
    assert report["frames"][0]["name"] == material.frames.names[place]
    expected = agreement(
        ort_maps(coarse, material.contract, material.frames.pixels[place:])[0], material.references[place]
    )
    assert report["frames"][0]["agreement"]["int8"]["max_abs"] == pytest.approx(expected.max_abs, rel=0.01)
    assert list(report["frames"][0]["agreement"]) == ["fp16", "int8"]
    sqnr = {error["node"]: error["sqnr_db"] for error in report["nodes"]["int8"]}
    assert sqnr["conv3"] == 200 > 60 > sqnr["conv4"]


def worst_last(material: Material) -> Int8Result:
    """A search's result that names the last frame as the worst."""
    result = int8_result(material.references[:3])
    return replace(result, figures=replace(result.figures, worst_frames=material.frames.names[::-1]))


def test_fp32_alone_gets_a_report_too(material: Material, tmp_path: Path) -> None:
    parity = compare("fp32", material.frames.names, material.references, material.references)
    alone = {**material.manifest, "models": {"fp32": material.manifest["models"]["fp32"]}}

    report = reported(
        tmp_path,
        replace(material, others={}, manifest={**alone, "parity": {"fp32": parity.to_json()}}),
    )

    assert report["precisions"] == ["fp32"]
    assert report["layers"] == []
    assert report["verdict"]["sentence"].startswith("fp32 agrees with the fp32 maps of PyTorch")
    assert [frame["agreement"]["fp32"]["cc"] for frame in report["frames"]] == pytest.approx([1.0] * 4)
