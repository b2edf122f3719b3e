"""The graph that is deployed: from the camera's pixels to the map."""

from __future__ import annotations

import torch
from torch import nn

from .networks import SaliencyNetwork


class DeployGraph(nn.Module):
    """A network between uint8 frames and maps, as the exported ONNX holds it.

    Input: uint8 (N, H, W, 3) BGR, at the network's size. Output: float32 (N, h, w) saliency, 0 to 1.
    """

    def __init__(self, network: SaliencyNetwork) -> None:
        """Take a network as it is; its own scaling of input and output comes with it."""
        super().__init__()
        self.network = network

    def forward(self, frame: torch.Tensor) -> torch.Tensor:  # noqa: D102
        # Cast before the transpose: TensorRT refuses to transpose uint8.
        pixels = frame.float().permute(0, 3, 1, 2)  # (N, 3, H, W)
        saliency: torch.Tensor = self.network(pixels)
        return saliency.clamp(0, 1)  # (N, h, w)
