"""The networks by name, and what a network is made with.

| name          | network                       | size (H x W) | map       | parameters | GMAC  |
| ------------- | ----------------------------- | ------------ | --------- | ---------- | ----- |
| `deep_half`   | deep convnet, half the width  | 240 x 320    | 240 x 320 |  6,583,681 |  34.3 |
| `deep_full`   | deep convnet, the paper's     | 240 x 320    | 240 x 320 | 25,806,209 | 133.7 |
| `mlnet`       | MLNet                         | 480 x 640    | 60 x 80   | 15,452,109 | 123.0 |
| `mlnet_small` | MLNet, the same weights       | 240 x 320    | 30 x 40   | 15,452,109 |  30.7 |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from torch import nn

from ..runtime.contract import Fit
from ..runtime.errors import ContractError, UsageError
from .deep_convnet import DeepConvnet
from .mlnet import MLNet

Architecture = Literal["deep_convnet", "mlnet"]
OutputScaling = Literal["affine", "density", "peak"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """All that is needed to make a network again; it travels in the checkpoint's header.

    Attributes:
        name: of the network, such as `deep_half`.
        architecture: `deep_convnet` or `mlnet`.
        width: factor on the deep convnet's channels; 1 for MLNet.
        size_hw: height and width of the input, in pixels.
        fit: how frames are brought to that size.
        mean_bgr: subtracted from B, G and R in 0 to 255.
        scale: the difference is multiplied by it.
        output: how the network's raw output becomes a map in 0 to 1. `affine`: 0.5 x + `output_mean`, the
            inverse of the deep convnet's target; `density`: exp(x - max x), for networks trained on
            log densities; `peak`: x / max x, as MLNet's loss takes it.
        output_mean: mean level of the training maps in 0 to 1, for `affine`.
    """

    name: str
    architecture: Architecture
    width: float
    size_hw: tuple[int, int]
    fit: Fit
    mean_bgr: tuple[float, float, float]
    scale: float
    output: OutputScaling
    output_mean: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any], origin: str) -> NetworkConfig:
        """Read what `to_json` gave.

        Raises:
            ContractError: fields are missing or unknown, or name an unknown architecture.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            differing = ", ".join(sorted(names.symmetric_difference(values)))
            raise ContractError(f"{origin}: configuration fields differ ({differing}). Train it again")
        known = (get_args(Architecture), get_args(OutputScaling))
        if values["architecture"] not in known[0] or values["output"] not in known[1]:
            found = f"architecture {values['architecture']!r}, output {values['output']!r}"
            raise ContractError(f"{origin}: {found} is unknown to this version")
        tuples = {name: tuple(values[name]) for name in ("size_hw", "mean_bgr")}
        return cls(**{**values, **tuples})


_DEEP = NetworkConfig(
    name="deep_half",
    architecture="deep_convnet",
    width=0.5,
    size_hw=(240, 320),
    fit="stretch",
    mean_bgr=(100.0, 110.0, 118.0),
    scale=1 / 127.5,
    output="density",
)
_MLNET = NetworkConfig(
    name="mlnet",
    architecture="mlnet",
    width=1.0,
    size_hw=(480, 640),
    fit="pad",
    mean_bgr=(103.939, 116.779, 123.68),
    scale=1.0,
    output="peak",
)
NETWORKS: dict[str, NetworkConfig] = {
    "deep_half": _DEEP,
    "deep_full": replace(_DEEP, name="deep_full", width=1.0),
    "mlnet": _MLNET,
    "mlnet_small": replace(_MLNET, name="mlnet_small", size_hw=(240, 320)),
}


def config_of(name: str) -> NetworkConfig:
    """Look up a network's configuration.

    Raises:
        UsageError: there is no network of that name.
    """
    if name not in NETWORKS:
        raise UsageError(f"unknown network {name!r}. Choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name]


class SaliencyNetwork(nn.Module):
    """A network with its own input and output scaling around it.

    Input: float (N, 3, H, W) BGR, 0 to 255. Output: float (N, h, w) saliency; `density` and `peak` lie in
    0 to 1, `affine` may pass them by a little (the deployed graph clips it).
    """

    mean_bgr: torch.Tensor

    def __init__(self, config: NetworkConfig) -> None:
        """Make the network that `config` describes, with freshly initialised weights.

        Raises:
            UsageError: the network cannot take that size.
        """
        super().__init__()
        self.config = config
        self.body = DeepConvnet(config.width) if config.architecture == "deep_convnet" else MLNet()
        self.map_size_hw = self.body.map_size_hw(config.size_hw)
        self.register_buffer("mean_bgr", torch.tensor(config.mean_bgr).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:  # noqa: D102
        normalised = (frames - self.mean_bgr) * self.config.scale  # (N, 3, H, W)
        raw = self.body(normalised).float()  # (N, 1, h, w)
        return self._scaled(raw).squeeze(1)  # (N, h, w)

    def _scaled(self, raw: torch.Tensor) -> torch.Tensor:
        if self.config.output == "affine":
            return raw * 0.5 + self.config.output_mean
        peak = raw.amax(dim=(2, 3), keepdim=True)  # (N, 1, 1, 1)
        if self.config.output == "density":
            return torch.exp(raw - peak)
        return raw / peak.clamp_min(1e-6)
