"""lite2 against PyTorch's own layers, and its backbone's weights from a file of the package's form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from saliency_edge.runtime.errors import ArtifactError, ContractError, UsageError
from saliency_edge.train.fit import FitConfig, make_optimiser
from saliency_edge.train.networks import config_of
from saliency_edge.train.networks.lite2 import EfficientNetLite2, Lite2, load_efficientnet
from saliency_edge.train.networks.saliency_network import SaliencyNetwork

# Kernel, stride, input and output channels of each block: Lite2 as TensorFlow's repository lists it.
BLOCKS = [
    (3, 1, 32, 16),
    (3, 2, 16, 24),
    *[(3, 1, 24, 24)] * 2,
    (5, 2, 24, 48),
    *[(5, 1, 48, 48)] * 2,
    (3, 2, 48, 88),
    *[(3, 1, 88, 88)] * 3,
    (5, 1, 88, 120),
    *[(5, 1, 120, 120)] * 3,
    (5, 2, 120, 208),
    *[(5, 1, 208, 208)] * 4,
    (3, 1, 208, 352),
]


def same(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """TensorFlow's SAME: as many cells as the output needs, the odd one below and right."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    needed = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]]
    (top, bottom), (left, right) = ((side // 2, side - side // 2) for side in needed)
    return conv(F.pad(x, (left, right, top, bottom)))


class Reference(nn.Module):
    """The package's network up to its last block, layer by layer, batch normalisation apart."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        self._blocks = nn.ModuleList()
        for number, (kernel, stride, inputs, outputs) in enumerate(BLOCKS):
            block, inner = nn.Module(), inputs * (6 if number else 1)
            if number:
                block._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
                block._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
            block._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
            block._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
            block._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
            block._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
            self._blocks.append(block)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.05, 0.2)

    def forward(self, x_rgb: torch.Tensor) -> list[torch.Tensor]:
        x = F.relu6(self._bn0(same(self._conv_stem, x_rgb)))
        outputs = []
        for number, (block, row) in enumerate(zip(self._blocks, BLOCKS, strict=True)):
            y = F.relu6(block._bn0(block._expand_conv(x))) if number else x
            y = F.relu6(block._bn1(same(block._depthwise_conv, y)))
            y = block._bn2(block._project_conv(y))
            x = x + y if row[1] == 1 and row[2] == row[3] else y
            outputs.append(x)
        return outputs


@pytest.fixture
def file(tmp_path: Path) -> tuple[Reference, Path]:
    torch.manual_seed(0)
    reference = Reference().eval()
    torch.save(reference.state_dict(), tmp_path / "efficientnet.pth")
    return reference, tmp_path / "efficientnet.pth"


def test_the_backbone_computes_what_its_file_says(file: tuple[Reference, Path]) -> None:
    reference, path = file
    backbone = EfficientNetLite2().eval()
    load_efficientnet(backbone, path)
    reference, backbone = reference.double(), backbone.double()  # the file itself is float32
    x_rgb = torch.randn(2, 3, 64, 96, dtype=torch.float64)

    with torch.inference_mode():
        fine, middle, coarse = backbone(x_rgb.flip(1))
        expected = reference(x_rgb)

    pairs = [
        (fine, expected[6]),
        (middle, torch.cat([expected[10], expected[14]], dim=1)),
        (coarse, torch.cat([expected[19], expected[20]], dim=1)),
    ]
    for found, wanted in pairs:
        assert found.shape == wanted.shape
        assert (found - wanted).norm() < 2e-3 * wanted.norm()  # folded in float32, and 21 random layers deep
    assert expected[20].std() > 0.01  # something came through


def test_files_that_are_not_the_backbone_are_refused(file: tuple[Reference, Path], tmp_path: Path) -> None:
    _, path = file
    tensors = torch.load(path, weights_only=True)
    del tensors["_blocks.20._bn2.bias"]
    torch.save(tensors, tmp_path / "short.pth")
    (tmp_path / "text.pth").write_text("no tensors")
    backbone = EfficientNetLite2()

    with pytest.raises(ContractError, match="does not hold EfficientNet-Lite2"):
        load_efficientnet(backbone, tmp_path / "short.pth")
    for name in ("text.pth", "missing.pth"):
        with pytest.raises(ArtifactError, match=f"{name} cannot be read"):
            load_efficientnet(backbone, tmp_path / name)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    import pickle

    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"_conv_stem.weight": Touch()}))

    with pytest.raises(ArtifactError):
        load_efficientnet(EfficientNetLite2(), tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_frozen_stages_stay_and_the_backbone_has_its_own_rate() -> None:
    network = SaliencyNetwork(config_of("lite2"))
    config = FitConfig(steps=1, learning_rate=1e-3, backbone_rate=0.2, frozen_blocks=3)
    optimiser = make_optimiser(network, config)

    body = network.body
    assert isinstance(body, Lite2)
    frozen = [*body.backbone.stem.parameters(), *body.backbone.stages[:3].parameters()]
    assert not any(parameter.requires_grad for parameter in frozen)
    slow = {id(one) for group in optimiser.param_groups if group["factor"] == 0.2 for one in group["params"]}
    assert slow == {id(one) for one in body.backbone.stages[3:].parameters()}


def test_sizes_that_do_not_halve_five_times_are_refused() -> None:
    assert Lite2.map_size_hw((384, 512)) == (48, 64)
    with pytest.raises(UsageError, match="multiples of 32"):
        Lite2.map_size_hw((240, 320))
