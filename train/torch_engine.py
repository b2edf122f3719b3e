"""PyTorch behind the engines' protocol: the reference that all others are held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtime.backends.backend import check_frames
from ..runtime.contract import Contract
from .checkpoint import Checkpoint, load_checkpoint
from .networks.saliency_network import DeployGraph

MAX_BATCH = 64


class TorchModel:
    """A checkpoint in PyTorch, float32, on the GPU where there is one."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        """Take a checkpoint's network as it is.

        Args:
            checkpoint: its network moves to the device.
            device: where to compute.
        """
        config = checkpoint.config
        self.graph = DeployGraph(checkpoint.network).eval().to(device)
        self.device = device
        self.description = f"PyTorch {torch.__version__.split('+')[0]} {device.type.upper()}, fp32"
        self.contract = Contract(
            network=config.name,
            precision="fp32",
            size_hw=config.size_hw,
            map_size_hw=checkpoint.network.map_size_hw,
            batch=(1, MAX_BATCH),
            fit=config.fit,
            weights_sha256=checkpoint.sha256,
        )

    @classmethod
    def load(cls, path: Path, size_hw: tuple[int, int] | None = None) -> TorchModel:
        """Load a `.safetensors` checkpoint.

        Raises:
            ArtifactError: it is missing, damaged or a pickle.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load_checkpoint(path, size_hw=size_hw), device)

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps, (N, H, W, 3) to (N, h, w); see `Model.infer`."""
        check_frames(frames, self.contract)
        with torch.inference_mode():
            maps: torch.Tensor = self.graph(torch.from_numpy(frames).to(self.device))
        return maps.cpu().numpy()

    def close(self) -> None:
        """Nothing to release: PyTorch frees the device with the graph."""
