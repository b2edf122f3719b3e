"""The deep convnet of Pan et al., CVPR 2016 (arXiv 1603.00845), its width as a parameter.

Layers as in the authors' deploy prototxt. `width` 1 is the paper's network, 0.5 the half-channel one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ...runtime.errors import UsageError
from .registry import Network, NetworkConfig

STRIDE = 4
MIN_SIDE = 32


class _Normalise(torch.autograd.Function):
    """x / (k + alpha / size * sums of squares)^beta, with the gradient written out.

    Autograd keeps and passes a dozen float32 tensors of the input's size, a third of a training step of the
    whole network; written out, it takes a fifth of that. What must be float32 is: 1 + 1e-4 is 1 in bfloat16.
    The result has the input's dtype.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, window: torch.Tensor, scale: float, beta: float, k: float
    ) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            sums = F.conv2d(x.square(), window.to(x.dtype))  # (N, C, H, W)
            base = sums.to(torch.promote_types(x.dtype, torch.float32)).mul_(scale).add_(k)
            factor = base.pow(-beta)
            ctx.save_for_backward(x, window, base, factor)
            ctx.scale, ctx.beta = scale, beta
            return (x * factor).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, window, base, factor = ctx.saved_tensors
        inner = (factor / base).mul_(x).mul_(gradient).to(x.dtype)
        through_sums = F.conv2d(inner, window.to(x.dtype)).mul_(x).mul_(-2 * ctx.scale * ctx.beta)
        return torch.addcmul(through_sums, gradient, factor).to(x.dtype), None, None, None, None


class LocalResponseNorm(nn.Module):
    """Across channels, as Caffe has it (size 5, alpha 1e-4, beta 0.75, k 1; Krizhevsky et al., 2012).

    The sum over neighbouring channels is a 1x1 convolution: torch's own average pool takes three times as
    long in training. In an export it becomes ONNX's own `LRN` node.
    """

    size, alpha, beta, k = 5, 1e-4, 0.75, 1.0
    neighbours: torch.Tensor

    def __init__(self, channels: int) -> None:
        """Make the window over that many channels."""
        super().__init__()
        index = torch.arange(channels)
        near = (index[:, None] - index[None, :]).abs() <= self.size // 2
        self.register_buffer("neighbours", near.float().view(channels, channels, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        if torch.onnx.is_in_onnx_export():
            return self._onnx_node(x)
        normalised: torch.Tensor = _Normalise.apply(
            x, self.neighbours, self.alpha / self.size, self.beta, self.k
        )
        return normalised

    def _onnx_node(self, x: torch.Tensor) -> torch.Tensor:
        return torch.onnx.ops.symbolic(
            "LRN",
            (x,),
            {"alpha": self.alpha, "beta": self.beta, "bias": self.k, "size": self.size},
            dtype=x.dtype,
            shape=x.shape,
        )


class DeepConvnet(nn.Module):
    """Nine convolutions at a quarter of the input's size, and a learned interpolation back to it."""

    def __init__(self, width: float) -> None:
        """Make the layers; convolutions start by He's fan-in rule, the deconvolution as interpolation.

        Args:
            width: factor on the channels of conv1 to conv7. conv8 keeps its 32, as in the half version.
        """
        super().__init__()
        c1, c2, c3, c6, c7 = (round(channels * width) for channels in (96, 256, 512, 256, 128))
        self.conv1 = nn.Conv2d(3, c1, 7, padding=3)
        self.norm1 = LocalResponseNorm(c1)
        self.conv2 = nn.Conv2d(c1, c2, 5, padding=2)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1)
        self.conv4 = nn.Conv2d(c3, c3, 5, padding=2)
        self.conv5 = nn.Conv2d(c3, c3, 5, padding=2)
        self.conv6 = nn.Conv2d(c3, c6, 7, padding=3)
        self.conv7 = nn.Conv2d(c6, c7, 11, padding=5)
        self.conv8 = nn.Conv2d(c7, 32, 11, padding=5)
        self.conv9 = nn.Conv2d(32, 1, 13, padding=6)
        self.deconv = nn.ConvTranspose2d(1, 1, 8, stride=STRIDE, padding=2, bias=False)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.deconv.weight.data.copy_(bilinear_kernel(8, STRIDE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the raw map.

        Args:
            x: (N, 3, H, W), normalised.

        Returns:
            (N, 1, H, W).
        """
        x = self.pool(self.norm1(F.relu(self.conv1(x))))  # (N, c1, H/2, W/2)
        x = self.pool(F.relu(self.conv2(x)))  # (N, c2, H/4, W/4)
        for conv in (self.conv3, self.conv4, self.conv5, self.conv6, self.conv7, self.conv8):
            x = F.relu(conv(x))
        raw: torch.Tensor = self.deconv(self.conv9(x))  # (N, 1, H/4, W/4) -> (N, 1, H, W)
        return raw

    @staticmethod
    def map_size_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
        """Give the map's height and width for an input's.

        Raises:
            UsageError: the sides are no multiples of 4, or below 32.
        """
        if any(side % STRIDE or side < MIN_SIDE for side in size_hw):
            size = f"{size_hw[0]}x{size_hw[1]}"
            raise UsageError(f"size {size}: the deep convnet takes multiples of {STRIDE} from {MIN_SIDE} on")
        return size_hw


def bilinear_kernel(size: int, stride: int) -> torch.Tensor:
    """Weights with which a transposed convolution interpolates bilinearly (Shelhamer et al., FCN).

    Returns:
        (1, 1, size, size), each stride's phase summing to 1.
    """
    centre = (size - 1) / 2
    distance = (torch.arange(size, dtype=torch.float32) - centre).abs() / stride
    profile = (1 - distance).clamp_min(0)
    return torch.outer(profile, profile).view(1, 1, size, size)


deep_half = Network(
    config=NetworkConfig(
        name="deep_half",
        size_hw=(240, 320),
        fit="stretch",
        mean=(100.0, 110.0, 118.0),
        std=(127.5, 127.5, 127.5),
        output="log_density",
        parameters={"width": 0.5},
    ),
    build=DeepConvnet,
)
deep_full = replace(deep_half, config=replace(deep_half.config, name="deep_full", parameters={"width": 1.0}))
