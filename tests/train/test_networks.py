"""The networks against the tables of their papers' public code."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from saliency_edge.runtime.errors import UsageError
from saliency_edge.train.networks import NetworkConfig, config_of, network_names
from saliency_edge.train.networks.deep_convnet import LocalResponseNorm, bilinear_kernel
from saliency_edge.train.networks.mlnet import MLNet
from saliency_edge.train.networks.saliency_network import SaliencyNetwork

# name, kernel, channels out: full and half width (the authors' deploy prototxt).
DEEP_TABLE = [
    ("conv1", 7, 96, 48),
    ("conv2", 5, 256, 128),
    ("conv3", 3, 512, 256),
    ("conv4", 5, 512, 256),
    ("conv5", 5, 512, 256),
    ("conv6", 7, 256, 128),
    ("conv7", 11, 128, 64),
    ("conv8", 11, 32, 32),
    ("conv9", 13, 1, 1),
]
VGG16_TABLE = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


@pytest.mark.parametrize(
    ("name", "parameters", "gmac", "map_size_hw"),
    [
        ("deep_half", 6_583_681, 34.3, (240, 320)),
        ("deep_full", 25_806_209, 133.7, (240, 320)),
        ("mlnet", 15_452_109, 123.0, (60, 80)),
        ("mlnet_small", 15_452_109, 30.7, (30, 40)),
    ],
)
def test_parameters_and_work_are_the_published_ones(name, parameters, gmac, map_size_hw):
    config = config_of(name)
    network = SaliencyNetwork(config).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        output = network(torch.zeros(1, 3, *config.size_hw))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.01)
    assert output.shape == (1, *map_size_hw) == (1, *network.map_size_hw)


@pytest.mark.parametrize(("name", "column"), [("deep_full", 2), ("deep_half", 3)])
def test_deep_convnet_has_the_layers_of_the_prototxt(name, column):
    body = SaliencyNetwork(config_of(name)).body
    channels_in = 3
    for row in DEEP_TABLE:
        layer = getattr(body, row[0])
        assert (layer.in_channels, layer.out_channels) == (channels_in, row[column]), row[0]
        assert layer.kernel_size == (row[1], row[1]), row[0]
        assert layer.padding == (row[1] // 2, row[1] // 2), row[0]
        assert layer.stride == (1, 1), row[0]
        assert layer.bias is not None, row[0]
        channels_in = row[column]
    assert (body.deconv.kernel_size, body.deconv.stride, body.deconv.padding) == ((8, 8), (4, 4), (2, 2))
    assert body.deconv.bias is None


def test_mlnet_has_vgg16s_convolutions():
    convolutions = [layer for layer in MLNet().blocks.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == VGG16_TABLE
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}


def test_mlnet_prior_receives_a_gradient():
    network = SaliencyNetwork(replace(config_of("mlnet"), size_hw=(64, 96)))
    network(torch.rand(1, 3, 64, 96) * 255).mean().backward()
    assert network.body.prior.grad.abs().sum() > 0


def test_pool4_keeps_the_size_and_looks_up_and_left():
    body = MLNet().eval()
    features = body.features(torch.randn(1, 3, 64, 64))
    pool3 = features[:, :256]
    conv4 = body.blocks[3](pool3)
    pool4 = features[:, 256:768]
    assert torch.equal(pool4[..., 3, 5], conv4[..., 2:4, 4:6].amax(dim=(2, 3)))


def test_lrn_is_the_formula_of_krizhevsky():
    x = torch.rand(1, 8, 2, 2) * 50
    squares = torch.zeros_like(x)
    for channel in range(8):
        squares[:, channel] = x[:, max(0, channel - 2) : channel + 3].square().sum(dim=1)
    expected = x / (1 + 1e-4 / 5 * squares) ** 0.75
    torch.testing.assert_close(LocalResponseNorm(8)(x), expected)


def test_deconvolution_starts_as_interpolation():
    constant = nn.functional.conv_transpose2d(
        torch.ones(1, 1, 8, 8), bilinear_kernel(8, 4), stride=4, padding=2
    )
    inner = constant[..., 4:-4, 4:-4]
    torch.testing.assert_close(inner, torch.ones_like(inner))


@pytest.mark.parametrize("name", network_names())
@pytest.mark.parametrize("fill", [0.0, 255.0])
def test_maps_of_flat_frames_are_finite_and_in_range(name, fill):
    torch.manual_seed(0)
    network = SaliencyNetwork(replace(config_of(name), size_hw=(64, 96))).eval()
    with torch.inference_mode():
        saliency = network(torch.full((1, 3, 64, 96), fill))
    assert torch.isfinite(saliency).all()
    assert saliency.min() >= 0
    assert saliency.max() <= 1


def test_affine_output_inverts_the_papers_target():
    config = replace(config_of("deep_half"), size_hw=(32, 32), output="affine", output_mean=0.125)
    network = SaliencyNetwork(config)
    level = torch.rand(1, 1, 32, 32)  # a map in 0 to 1
    target = (level * 255 - 0.125 * 255) / 127.5
    torch.testing.assert_close(network._scaled(target), level)


@pytest.mark.parametrize(
    ("name", "size_hw"), [("deep_half", (241, 320)), ("deep_half", (16, 16)), ("mlnet", (100, 100))]
)
def test_sizes_that_cannot_be_are_refused(name, size_hw):
    with pytest.raises(UsageError, match="takes multiples of"):
        SaliencyNetwork(replace(config_of(name), size_hw=size_hw))


def test_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="deep_half, deep_full, mlnet, mlnet_small"):
        config_of("resnet")


def test_configuration_survives_json():
    config = config_of("mlnet")
    assert NetworkConfig.from_json(config.to_json(), "here") == config


def test_headers_of_version_0_5_give_the_same_configuration():
    old = {
        "name": "mlnet_small",
        "architecture": "mlnet",
        "width": 1.0,
        "size_hw": [240, 320],
        "fit": "pad",
        "mean_bgr": [103.939, 116.779, 123.68],
        "scale": 1.0,
        "output": "peak",
        "output_mean": 0.0,
    }
    assert NetworkConfig.from_json(old, "here") == config_of("mlnet_small")
    deep = {**old, "name": "deep_half", "architecture": "deep_convnet", "width": 0.5, "scale": 1 / 127.5}
    deep |= {"fit": "stretch", "mean_bgr": [100.0, 110.0, 118.0], "output": "density"}
    assert NetworkConfig.from_json(deep, "here") == config_of("deep_half")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("logits", lambda x: 1 / (1 + (-x).exp())),
        ("log_density", lambda x: x.exp() / x.exp().max()),
        ("density", lambda x: x / x.max()),
        ("saliency", lambda x: x),
    ],
)
def test_outputs_become_maps_by_their_formulas(output, expected):
    network = SaliencyNetwork(replace(config_of("deep_half"), size_hw=(32, 32), output=output))
    raw = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(network._scaled(raw), expected(raw))


def test_rgb_input_is_normalised_in_its_own_order():
    config = replace(
        config_of("deep_half"),
        size_hw=(32, 32),
        channel_order="rgb",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    )
    network = SaliencyNetwork(config).eval()
    seen = []
    network.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames_bgr = torch.rand(1, 3, 32, 32) * 255
    with torch.inference_mode():
        network(frames_bgr)
    mean, std = torch.tensor(config.mean).view(1, 3, 1, 1), torch.tensor(config.std).view(1, 3, 1, 1)
    torch.testing.assert_close(seen[0], (frames_bgr.flip(1) - mean) / std)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_norms_written_gradient_is_the_formulas(scale):
    torch.manual_seed(0)
    ours, torchs = LocalResponseNorm(7).double(), nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    first = (scale * torch.randn(2, 7, 5, 6, dtype=torch.float64)).requires_grad_()
    second, weight = first.detach().clone().requires_grad_(), torch.randn(2, 7, 5, 6, dtype=torch.float64)
    (ours(first) * weight).sum().backward()
    (torchs(second) * weight).sum().backward()
    torch.testing.assert_close(ours(first), torchs(second), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-7, atol=1e-9)
