"""What the int8 tests start from: small networks, their ranges, and a gate of few frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from saliency_edge.calib.calibrate import Calibrator
from saliency_edge.calib.frames import shipped_frames
from saliency_edge.calib.graph import CalibratedModel
from saliency_edge.calib.ranges import ActivationRanges
from saliency_edge.export.frames import FrameSet, fitted
from saliency_edge.export.int8.branches import split_concats
from saliency_edge.export.int8.gate import Gate
from saliency_edge.export.int8.layers import ConvLayer, conv_layers
from saliency_edge.export.int8.quantize import Int8Conv
from saliency_edge.export.int8.results import GateLimits
from saliency_edge.export.int8.start import Int8Source
from saliency_edge.export.range_scan import scan_ranges
from saliency_edge.export.to_fp16 import fp16_from_fp32, kept_fp32, rounded_as_fp16
from saliency_edge.export.to_onnx import contract_of, onnx_from_checkpoint
from saliency_edge.runtime.contract import Contract
from saliency_edge.train.checkpoint import Checkpoint
from seeded_networks import seeded_checkpoint, torch_maps


@dataclass(frozen=True)
class Prepared:
    """A seeded network with all that its int8 search takes."""

    exported: onnx.ModelProto
    source: Int8Source
    gate: Gate
    probes: FrameSet
    contract: Contract


def prepared(checkpoint: Checkpoint, limits: GateLimits | None = None) -> Prepared:
    contract = contract_of(checkpoint, (1, 1))
    exported = onnx_from_checkpoint(checkpoint)
    fp32 = split_concats(exported)
    frames = fitted(shipped_frames(), contract.size_hw, contract.fit)
    kept = kept_fp32(fp32, scan_ranges(fp32, contract, frames.pixels))
    judged, probes = frames.every(2), mirrored(frames.every(3))
    source = Int8Source(
        fp32=fp32,
        body=fp16_from_fp32(fp32, kept),
        rounded=rounded_as_fp16(fp32, kept),
        ranges=ranges_of(exported, contract, frames.pixels),
    )
    references = torch_maps(checkpoint, judged.pixels)
    gate = Gate(limits=limits or GateLimits(), frames=judged, references=references, contract=contract)
    return Prepared(exported=exported, source=source, gate=gate, probes=probes, contract=contract)


@cache
def seeded(name: str) -> Prepared:
    """Prepare a network once for all tests; not to be changed."""
    return prepared(seeded_checkpoint(name))


def mirrored(frames: FrameSet) -> FrameSet:
    return FrameSet(names=frames.names, pixels=np.ascontiguousarray(frames.pixels[:, :, ::-1]))


def ranges_of(model: onnx.ModelProto, contract: Contract, pixels: NDArray[np.uint8]) -> ActivationRanges:
    calibrator = Calibrator(CalibratedModel(graph=model, contract=contract, path=Path("seeded")))
    for frame in pixels:
        calibrator.add(frame)
    return calibrator.ranges()


def weights_of(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def minmax_convs(model: onnx.ModelProto, ranges: ActivationRanges) -> dict[str, Int8Conv]:
    """Quantise all that may be, at the largest values that were seen, a Concat's inputs at one."""
    weights = weights_of(model)
    largest = {name: tensor.thresholds["minmax"] for name, tensor in ranges.tensors.items()}
    allowed = [layer for layer in conv_layers(model) if layer.refused is None]
    return {layer.node: _conv(layer, weights, largest) for layer in allowed}


def _conv(
    layer: ConvLayer, weights: Mapping[str, NDArray[np.float32]], largest: Mapping[str, float]
) -> Int8Conv:
    bias = weights[layer.bias] if layer.bias else None
    return Int8Conv(threshold=largest[layer.tensor], weights=weights[layer.weight], bias=bias)
