"""A network between its input's and its output's scaling, and the graph that is deployed around it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ...runtime.errors import UsageError
from .registry import NetworkConfig, find_network


class SaliencyNetwork(nn.Module):
    """A network with its own input and output scaling around it.

    Input: float (N, 3, H, W) BGR, 0 to 255. Output: float (N, h, w) saliency, 0 to 1; of `affine` and
    `saliency` it may leave that range by a little (the deployed graph clips it).
    """

    mean_bgr: torch.Tensor
    scale_bgr: torch.Tensor
    rgb_from_bgr: torch.Tensor

    def __init__(self, config: NetworkConfig) -> None:
        """Make the network that `config` describes, with freshly initialised weights.

        Raises:
            UsageError: the network is unknown, or cannot take that size.
        """
        super().__init__()
        self.config = config
        self.body = find_network(config.name).build(**config.parameters)
        self.map_size_hw = self.map_size_at(config.size_hw)
        mean, scale = torch.tensor(config.mean), 1 / torch.tensor(config.std)
        if config.channel_order == "rgb":
            mean, scale = mean.flip(0), scale.flip(0)
        self.register_buffer("mean_bgr", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale_bgr", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("rgb_from_bgr", torch.tensor([2, 1, 0]), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:  # noqa: D102
        std = self.config.std
        scale = 1 / std[0] if len(set(std)) == 1 else self.scale_bgr
        normalised = (frames - self.mean_bgr) * scale  # (N, 3, H, W)
        if self.config.channel_order == "rgb":
            normalised = normalised.index_select(1, self.rgb_from_bgr)
        raw = self.body(normalised).float()  # (N, 1, h, w) or (N, h, w)
        raw = raw.unsqueeze(1) if raw.ndim == 3 else raw
        return self._scaled(raw).squeeze(1)  # (N, h, w)

    def _scaled(self, raw: torch.Tensor) -> torch.Tensor:
        """Map the raw output, (N, 1, h, w), to 0 to 1; `NetworkConfig.output` has the formulas."""
        match self.config.output:
            case "logits":
                return torch.sigmoid(raw)
            case "saliency":
                return raw
            case "affine":
                return raw * 0.5 + self.config.output_mean
        peak = raw.amax(dim=(2, 3), keepdim=True)  # (N, 1, 1, 1)
        if self.config.output == "log_density":
            return torch.exp(raw - peak)
        return raw / peak.clamp_min(1e-6)

    def map_size_at(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the map for frames of a size: asked of the module, or seen on one map.

        Raises:
            UsageError: the network cannot take that size.
        """
        known: Callable[[tuple[int, int]], tuple[int, int]] | None = getattr(self.body, "map_size_hw", None)
        if known is not None:
            return known(size_hw)
        was_training = self.body.training
        try:
            with torch.inference_mode():
                shape = self.body.eval()(torch.zeros(1, 3, *size_hw)).shape
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(
                f"size {size_hw[0]}x{size_hw[1]}: {self.config.name} cannot take it ({reason})"
            ) from error
        finally:
            self.body.train(was_training)
        if len(shape) not in (3, 4) or shape[0] != 1 or (len(shape) == 4 and shape[1] != 1):
            raise UsageError(
                f"{self.config.name} gives {tuple(shape)}, expected a map: (N, 1, h, w) or (N, h, w)"
            )
        return int(shape[-2]), int(shape[-1])


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
