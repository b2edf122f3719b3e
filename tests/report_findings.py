"""Findings of an invented export: figures of every kind, no two alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saliency_edge.calib.audit import FramesAudit, Spread
from saliency_edge.calib.ranges import OBSERVERS, ActivationRanges, Change, RangesKey, Step, TensorRange
from saliency_edge.export.frames import FrameSet
from saliency_edge.export.int8.results import (
    GateLimits,
    Int8Result,
    LayerDecision,
    ParetoPoint,
    gate_figures,
)
from saliency_edge.export.layer_error import LayerError
from saliency_edge.export.parity import compare
from saliency_edge.export.report.findings import Findings, ShownMaps
from saliency_edge.export.speed import Speed
from saliency_edge.export.temporal import compare_movement
from saliency_edge.runtime.bench.statistics import Interval
from saliency_edge.runtime.contract import Contract
from toy_models import noise

NASTY = '<script>alert("1")</script> & "more"'
FRAMES = ("street", NASTY, "night")
SIZE_HW, MAP_HW = (48, 64), (12, 16)
LAYERS = ("conv1", "conv2", "conv3")


def smooth_maps(seed: int, count: int = len(FRAMES)) -> NDArray[np.float32]:
    """Maps in 0 to 1, one for each frame."""
    maps = np.stack([noise(MAP_HW, 10 * seed + number)[..., 0] for number in range(count)])
    return (maps / 255).astype(np.float32)


def disturbed(maps: NDArray[np.float32], size: float) -> NDArray[np.float32]:
    noise_like = np.random.default_rng(3).normal(0, size, maps.shape)
    return np.asarray(np.clip(maps + noise_like, 0, 1), np.float32)


def toy_ranges() -> ActivationRanges:
    tensors = {
        f"{layer}.in": TensorRange(
            minimum=-0.5 * place,
            maximum=3.0 * place,
            thresholds={name: 3.0 * place * (0.5 + 0.05 * number) for number, name in enumerate(OBSERVERS)},
        )
        for place, layer in enumerate(LAYERS, 1)
    }
    key = RangesKey(
        model_sha256="1" * 64,
        weights_sha256="0" * 64,
        size_hw=SIZE_HW,
        frames_sha256=("ab" * 8, "cd" * 8),
        method="a method",
        versions={"numpy": "2"},
    )
    steps: tuple[tuple[Step, int], ...] = (("eighth", 64), ("quarter", 128), ("half", 250), ("half", 262))
    changes = tuple(
        Change(
            observer=observer,
            step=step,
            frames=count,
            tensor="conv1.in",
            relative=0.4 / count + 0.001 * place,
        )
        for place, observer in enumerate(OBSERVERS)
        for step, count in steps
    )
    return ActivationRanges(key=key, frames=512, tensors=tensors, changes=changes)


def frames_audit() -> FramesAudit:
    return FramesAudit(
        frames=512,
        duplicates=3,
        spreads={"luminance": Spread(p5=12.5, p50=101.5, p95=222.5)},
        kinds={"dark": 2, "bright": 41, "flat": 20, "colourful": 77},
        motion={"<i>clip</i>.mp4": 0.2},
    )


def decisions() -> list[LayerDecision]:
    measured = LayerDecision(
        node="conv1",
        precision="int8",
        reason="within the gate",
        macs=1000,
        tensor="conv1.in",
        observer="mse",
        threshold=2.25,
        weight_scales=(0.001, 0.01),
        sqnr_db=31.4,
        cc_alone=0.9997,
        kldiv_alone=2e-4,
    )
    kept = LayerDecision(
        node="conv2", precision="float", reason="hurts: <b>alone</b> CC .97", macs=500, tensor="conv2.in"
    )
    return [measured, kept, replace(measured, node="conv3", tensor="conv3.in", macs=2500, sqnr_db=27.9)]


def int8_result(references: NDArray[np.float32], *, passed: bool = True) -> Int8Result:
    parity = compare("int8", FRAMES, disturbed(references, 0.005), references)
    figures = gate_figures(parity.frames)
    points = [
        ParetoPoint(
            step="all layers, min-max",
            int8_macs_share=1.0,
            kept_nodes=(),
            figures=replace(figures, cc_mean=0.991, cc_worst=0.9512, kldiv_mean=0.011, kldiv_worst=0.031),
            passed=False,
        ),
        ParetoPoint(
            step="conv2 kept", int8_macs_share=0.875, kept_nodes=("conv2",), figures=figures, passed=passed
        ),
    ]
    return Int8Result(
        limits=GateLimits(),
        figures=figures if passed else points[0].figures,
        int8_macs_share=0.875,
        layers=decisions(),
        pareto=points,
        taken=1 if passed else None,
        repairs=("bias correction",),
        ranges={"source": "shipped", "frames": 512},
        parity=parity,
        passes=1234,
        seconds=5.0,
    )


def errors(level_db: float) -> list[LayerError]:
    return [
        LayerError(
            node=node,
            operator="Conv",
            minimum=-1.5,
            maximum=2.5 + place,
            sqnr_db=level_db - 3 * place,
            max_abs_error=0.01 * (place + 1),
        )
        for place, node in enumerate(LAYERS)
    ]


def manifest(references: NDArray[np.float32], precisions: tuple[str, ...]) -> dict[str, Any]:
    fp16 = compare("fp16", FRAMES, disturbed(references, 1e-4), references, rounded=True)
    return {
        "models": {
            precision: {"file": f"{precision}.onnx", "sha256": str(place) * 64, "bytes": 1_234_567 + place}
            for place, precision in enumerate(precisions)
        },
        "golden": {"file": "golden.npz", "sha256": "e" * 64, "bytes": 98_765},
        "lineage": {"weights_sha256": "0" * 64, "record": {"dataset": "photos", "note": "</pre><script>"}},
        "range_scan": {"kept_fp32": {"conv3": "computes the map"}},
        "parity": {"fp16_rounded": fp16.to_json()},
        "tools": {"torch": "2.14.1", "onnx": "1.19"},
    }


def findings_of(*, int8: bool = True, passed: bool = True) -> Findings:
    """Findings of an export with int8, with int8 that does not pass, or with fp16 alone."""
    references = smooth_maps(1)
    maps = {"fp16": disturbed(references, 1e-4), "int8": disturbed(references, 0.005)}
    clip = smooth_maps(2, 6)
    has_int8 = int8 and passed
    return Findings(
        contract=Contract(
            network="toy",
            precision="fp32",
            size_hw=SIZE_HW,
            map_size_hw=MAP_HW,
            batch=(1, 1),
            fit="stretch",
            weights_sha256="0" * 64,
        ),
        manifest=manifest(references, ("fp32", "fp16", "int8") if has_int8 else ("fp32", "fp16")),
        shown=ShownMaps(
            frames=FrameSet(names=FRAMES, pixels=np.stack([noise(SIZE_HW, seed) for seed in range(3)])),
            references=references,
            maps=maps if has_int8 else {"fp16": maps["fp16"]},
        ),
        errors={"fp16": errors(66.6), "int8": errors(33.3)} if has_int8 else {"fp16": errors(66.6)},
        int8=int8_result(references, passed=passed) if int8 else None,
        ranges=toy_ranges() if int8 else None,
        audit=frames_audit() if int8 else None,
        temporal=compare_movement("clip.mp4", {"fp32": clip, "int8": disturbed(clip, 0.002)})
        if has_int8
        else None,
        speed=speed() if has_int8 else None,
    )


def speed(ratio: float = 1.25) -> Speed:
    interval = Interval(low=ratio - 0.05, estimate=ratio, high=ratio + 0.05)
    return Speed(engine="<b>GPU</b>", fp16_ms=2.568, int8_ms=3.21, int8_over_fp16=interval)
