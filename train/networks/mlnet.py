"""MLNet of Cornia et al., ICPR 2016: features of three depths of VGG16, and a learned prior."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from ...runtime.arrays import read_arrays
from ...runtime.errors import ContractError, UsageError
from .registry import Network, NetworkConfig

STRIDE = 8
MIN_SIDE = 64
# The PyTorch version's, at 240x320; the authors have 6 x 8 at 480x640. Interpolated, it serves both sizes.
PRIOR_HW = (3, 4)
# Channels of each block's convolutions. pool1 to pool3 halve the size, pool4 keeps it, there is no pool5.
VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def _block(channels_in: int, channels_out: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in channels_out:
        layers += [nn.Conv2d(channels_in, channels, 3, padding=1), nn.ReLU()]
        channels_in = channels
    return nn.Sequential(*layers)


class MLNet(nn.Module):
    """VGG16 up to conv5_3 at stride 8, an encoder over pool3, pool4 and conv5_3, and a prior."""

    def __init__(self) -> None:
        """Make the layers, with He's initialisation; `load_vgg16` of `backbone.py` fills in the VGG16."""
        super().__init__()
        inputs = (3, *(channels[-1] for channels in VGG16_BLOCKS[:-1]))
        self.blocks = nn.ModuleList(_block(i, o) for i, o in zip(inputs, VGG16_BLOCKS, strict=True))
        self.dropout = nn.Dropout(0.5)
        self.encode = nn.Conv2d(256 + 512 + 512, 64, 3, padding=1)
        self.readout = nn.Conv2d(64, 1, 1)
        self.prior = nn.Parameter(torch.zeros(1, 1, *PRIOR_HW))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.uniform_(self.readout.weight, 0.0, 1 / 32)  # a map that starts above the last ReLU's kink

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the features of three depths.

        Args:
            x: (N, 3, H, W), BGR, mean subtracted.

        Returns:
            (N, 1280, H/8, W/8): pool3, pool4 and conv5_3.
        """
        for block in self.blocks[:3]:
            x = F.max_pool2d(block(x), 2)  # (N, 256, H/8, W/8) at the end: pool3
        pool3 = x
        # 2x2 at stride 1 with `same` borders: one row above and one column to the left, as Theano has it.
        pool4 = F.max_pool2d(F.pad(self.blocks[3](pool3), (1, 0, 1, 0)), 2, stride=1)  # (N, 512, H/8, W/8)
        return torch.cat((pool3, pool4, self.blocks[4](pool4)), dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the raw map.

        Args:
            x: (N, 3, H, W), BGR, mean subtracted.

        Returns:
            (N, 1, H/8, W/8), not negative.
        """
        x = F.relu(self.encode(self.dropout(self.features(x))))  # (N, 64, h, w)
        x = F.relu(self.readout(x))  # (N, 1, h, w)
        prior = F.interpolate(self.prior, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return F.relu(x * (1 + prior))

    @staticmethod
    def map_size_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
        """Give the map's height and width for an input's.

        Raises:
            UsageError: the sides are no multiples of 8, or below 64.
        """
        if any(side % STRIDE or side < MIN_SIDE for side in size_hw):
            size = f"{size_hw[0]}x{size_hw[1]}"
            raise UsageError(f"size {size}: MLNet takes multiples of {STRIDE} from {MIN_SIDE} on")
        return size_hw[0] // STRIDE, size_hw[1] // STRIDE


def load_vgg16(network: MLNet, path: Path) -> None:
    """Fill MLNet's VGG16 with trained convolutions.

    Args:
        network: its blocks are overwritten; encoder, readout and prior stay.
        path: an `.npz` with `convB_C.weight` (OIHW) and `convB_C.bias` for the 13 convolutions conv1_1 to
            conv5_3, for BGR input in 0 to 255 minus (103.939, 116.779, 123.68).

    Raises:
        ArtifactError: the file cannot be read.
        ContractError: arrays are missing or of another shape.
    """
    arrays = read_arrays(path, remedy="Get the backbone again")
    for number, block in enumerate(network.blocks, start=1):
        convolutions = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        for position, convolution in enumerate(convolutions, start=1):
            _fill(convolution, arrays, f"conv{number}_{position}", path)


def _fill(convolution: nn.Conv2d, arrays: dict[str, NDArray[np.floating]], name: str, path: Path) -> None:
    for kind, parameter in convolution.named_parameters():
        found = arrays.get(f"{name}.{kind}")
        if found is None or found.shape != tuple(parameter.shape) or found.dtype.kind != "f":
            shape = "missing" if found is None else f"{found.dtype} {found.shape}"
            raise ContractError(f"{path}: {name}.{kind} is {shape}, expected {tuple(parameter.shape)}")
        parameter.data.copy_(torch.from_numpy(found.astype(np.float32)))


mlnet = Network(
    config=NetworkConfig(
        name="mlnet",
        size_hw=(480, 640),
        fit="pad",
        mean=(103.939, 116.779, 123.68),
        std=(1.0, 1.0, 1.0),
        output="density",
    ),
    build=MLNet,
)
mlnet_small = replace(mlnet, config=replace(mlnet.config, name="mlnet_small", size_hw=(240, 320)))
