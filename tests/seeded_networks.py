"""Networks with seeded random weights: what does not ship can be exported too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from saliency_edge.calib.frames import shipped_frames
from saliency_edge.export.frames import FrameSet, fitted
from saliency_edge.export.to_onnx import onnx_from_checkpoint
from saliency_edge.train.checkpoint import Checkpoint, save_checkpoint
from saliency_edge.train.networks import config_of
from saliency_edge.train.networks.saliency_network import DeployGraph, SaliencyNetwork

SMALL_HW = {"deep_half": (36, 48), "deep_full": (32, 32), "mlnet": (64, 72), "mlnet_small": (64, 64)}


def seeded_network(name: str, seed: int = 0, size_hw: tuple[int, int] | None = None) -> SaliencyNetwork:
    """Make a network at a small size, its biases random too: the usual zeros would be optimised away."""
    torch.manual_seed(seed)
    network = SaliencyNetwork(replace(config_of(name), size_hw=size_hw or SMALL_HW[name])).eval()
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def checkpoint_of(network: SaliencyNetwork) -> Checkpoint:
    return Checkpoint(network=network, sha256="5" * 64, record={"seeded": True})


def seeded_checkpoint(name: str, seed: int = 0, size_hw: tuple[int, int] | None = None) -> Checkpoint:
    return checkpoint_of(seeded_network(name, seed, size_hw))


@cache
def exported(name: str, batch: tuple[int, int] = (1, 8)) -> onnx.ModelProto:
    """Export a network once for all tests; not to be changed."""
    return onnx_from_checkpoint(seeded_checkpoint(name), batch)


def save_seeded(path: Path, name: str = "deep_half", seed: int = 0) -> Path:
    save_checkpoint(path, seeded_network(name, seed), {"seeded": True})
    return path


def frames_for(checkpoint: Checkpoint, step: int = 4) -> FrameSet:
    """Take every `step`-th of the shipped frames, at the network's size."""
    return fitted(shipped_frames()[::step], checkpoint.config.size_hw, checkpoint.config.fit)


def torch_maps(checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        maps: NDArray[np.float32] = DeployGraph(checkpoint.network)(torch.from_numpy(pixels)).numpy()
    return maps


def initialisers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def node_names(model: onnx.ModelProto, *operators: str) -> Sequence[str]:
    """Name the nodes of these operators, or all, in the graph's order."""
    return [node.name for node in model.graph.node if not operators or node.op_type in operators]
