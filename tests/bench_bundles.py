"""Bundles of the real networks at a small size, so that a run of `saliency-bench` takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from engine_bundles import quantize_bundle, write_manifest
from saliency_edge.export.to_onnx import contract_of, onnx_from_checkpoint
from saliency_edge.runtime.bench.footprint import ModelSpec
from saliency_edge.runtime.bench.measure import BenchPlan
from saliency_edge.runtime.bench.timing import InterleavedPlan, IsolatedPlan
from saliency_edge.runtime.contract import METADATA_KEY, Contract, Precision
from saliency_edge.train.checkpoint import Checkpoint, load_checkpoint, shipped_weights
from seeded_networks import frames_for, seeded_checkpoint, torch_maps

SIZE_HW = (64, 88)
STRETCH, PAD = "deep_half", "mlnet_small"

Change = Callable[[onnx.ModelProto], None]


def save_bench_bundle(folder: Path, network: str = STRETCH, change: Change | None = None) -> Path:
    """Write a bundle of the shipped weights at 64 x 88, its fp32 graph changed by `change`, if given."""
    checkpoint = load_checkpoint(shipped_weights(network), network=network, size_hw=SIZE_HW)
    return _save(folder, checkpoint, change)


def save_seeded_bundle(folder: Path, network: str) -> Path:
    """Write a bundle of random weights at 64 x 88, the same for ever, as fp32 and int8."""
    checkpoint = seeded_checkpoint(network, size_hw=SIZE_HW)
    _save(folder, checkpoint, None)
    contract = contract_of(checkpoint, (1, 1))
    quantize_bundle(folder, contract)
    _mark_as_int8(folder / "int8.onnx", contract)
    write_manifest(folder, contract)
    return folder


def _mark_as_int8(path: Path, contract: Contract) -> None:
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: replace(contract, precision="int8").to_json()})
    onnx.save(model, path)


def _save(folder: Path, checkpoint: Checkpoint, change: Change | None) -> Path:
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


def quick_plan(
    *bundles: Path, frames: int = 20, seconds: float = 0.0, precisions: Sequence[Precision] = ("fp32",)
) -> BenchPlan:
    """Measure models as a baseline needs it, without what takes long.

    Args:
        bundles: to measure.
        frames: of each model alone.
        seconds: for which model and reference may take turns until the ratio is precise.
        precisions: of each bundle.
    """
    return BenchPlan(
        models=[ModelSpec(path=bundle, precision=each) for bundle in bundles for each in precisions],
        sizes_hw=((361, 641),),
        isolated=IsolatedPlan(frames=frames, seconds=0.0, limit=1),
        interleaved=InterleavedPlan(rounds=10, seconds=seconds),
        start_ups=0,
        with_reference=True,
        with_roofline=False,
    )
