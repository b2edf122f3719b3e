"""Bundles of the shipped networks at a small size, so that a run of `saliency-bench` takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from engine_bundles import write_manifest
from saliency_edge.export.to_onnx import contract_of, onnx_from_checkpoint
from saliency_edge.runtime.bench.alone import AlonePlan
from saliency_edge.runtime.bench.measure import BenchPlan
from saliency_edge.runtime.bench.rounds import RoundPlan
from saliency_edge.runtime.bench.startup import ModelChoice
from saliency_edge.train.checkpoint import load_checkpoint, shipped_weights
from seeded_networks import frames_for, torch_maps

SIZE_HW = (64, 88)

Change = Callable[[onnx.ModelProto], None]


def save_bench_bundle(folder: Path, network: str = "deep_half", change: Change | None = None) -> Path:
    """Write a bundle of the shipped weights at 64 x 88, its fp32 graph changed by `change`, if given."""
    checkpoint = load_checkpoint(shipped_weights(network), network=network, size_hw=SIZE_HW)
    model = onnx_from_checkpoint(checkpoint, (1, 1))
    if change is not None:
        change(model)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "fp32.onnx")
    frames = frames_for(checkpoint)
    maps = torch_maps(checkpoint, frames.pixels)
    np.savez_compressed(folder / "golden.npz", names=np.array(frames.names), frames=frames.pixels, maps=maps)
    write_manifest(folder, contract_of(checkpoint, (1, 1)))
    return folder


def quick_plan(bundle: Path, *, frames: int = 20, seconds: float = 0.0) -> BenchPlan:
    """Measure one model as a baseline needs it, without what takes long.

    Args:
        bundle: with an fp32 model.
        frames: of the model alone.
        seconds: for which model and reference may take turns until the ratio is precise.
    """
    return BenchPlan(
        models=[ModelChoice(path=bundle, precision="fp32")],
        sizes_hw=((361, 641),),
        alone=AlonePlan(frames=frames, seconds=0.0, limit=1),
        rounds=RoundPlan(rounds=10, seconds=seconds),
        start_ups=0,
        with_reference=True,
        with_roofline=False,
    )
