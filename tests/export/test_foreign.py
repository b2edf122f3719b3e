"""Foreign ONNX files: networks of torchvision's parts, exported here as their authors would export them.

What the bundle's graphs give is compared with the modules themselves in PyTorch, which the export never sees.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation
from typer.testing import CliRunner

from saliency_edge.calib.frames import shipped_frames
from saliency_edge.export.cli import app
from saliency_edge.export.foreign import ForeignFormat, ForeignOnnx, InputFormat, OutputKind
from saliency_edge.runtime import Predictor
from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.errors import ArtifactError, ContractError, SaliencyError, UsageError

SIZE_HW = (96, 128)
IMAGENET = "rgb, 0..1, mean=0.485,0.456,0.406, std=0.229,0.224,0.225, nchw"
TEACHERS = Path(__file__).resolve().parents[2] / "../shared/data/teachers/glimpse"


class MobileNet(nn.Module):
    """Inverted residuals with squeeze and excitation, a separable decoder; logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2dNormActivation(3, 8, stride=2, activation_layer=nn.Hardswish)
        self.down = nn.Sequential(InvertedResidual(8, 16, 2, 4), InvertedResidual(16, 24, 2, 4))
        self.attend = SqueezeExcitation(24, 8)
        self.pointwise = nn.Conv2d(24, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.readout = nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.attend(self.down(self.stem(x)))
        x = F.relu(self.depthwise(F.relu(self.pointwise(x))))  # a plain ReLU before a depthwise convolution
        return self.readout(F.relu(self.up(x)))


class UNet(nn.Module):
    """Skips that are concatenated, and a side output as salient-object networks have; densities."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Conv2dNormActivation(3, 8)
        self.second = Conv2dNormActivation(8, 16)
        self.deep = Conv2dNormActivation(16, 16)
        self.mix = Conv2dNormActivation(32, 8)
        self.last = nn.Conv2d(16, 1, 3, padding=1)
        self.side = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.first(x)
        second = self.second(F.max_pool2d(first, 2))
        deep = self.deep(F.max_pool2d(second, 2))
        mixed = F.interpolate(deep, size=second.shape[-2:], mode="bilinear", align_corners=False)
        mixed = self.mix(torch.cat((mixed, second), 1))
        mixed = F.interpolate(mixed, size=first.shape[-2:], mode="bilinear", align_corners=False)
        return F.softplus(self.last(torch.cat((mixed, first), 1))), F.softplus(self.side(deep))


class ChannelsLast(nn.Module):
    """(N, H, W, 3) in, (N, h, w) out: a log density."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv2dNormActivation(3, 8, stride=4), nn.Conv2d(8, 1, 5, padding=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.body(x.permute(0, 3, 1, 2)).squeeze(1)
        return torch.log_softmax(raw.flatten(1), 1).reshape(raw.shape)


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A module whose batch normalisation has statistics of images, in evaluation mode."""
    torch.manual_seed(seed)
    module = build()
    layout = (0, 2, 3, 1) if build is ChannelsLast else (0, 1, 2, 3)
    module.train()
    with torch.no_grad():
        for _ in range(8):
            module(torch.randn(4, 3, *SIZE_HW).permute(layout))
    return module.eval()


def save(
    module: nn.Module, path: Path, example: torch.Tensor, outputs: Sequence[str], **options: Any
) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=["image"],
            output_names=list(outputs),
            dynamo=False,
            **options,
        )
    return path


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    module, path = seeded(MobileNet), tmp_path_factory.mktemp("mobile") / "mobile.onnx"
    return module, save(module, path, torch.zeros(1, 3, *SIZE_HW), ["logits"], opset_version=11)


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    module, path = seeded(UNet), tmp_path_factory.mktemp("unet") / "unet.onnx"
    axes = {name: {0: "batch", 2: f"{name}_h", 3: f"{name}_w"} for name in ("image", "d0", "d1")}
    save(module, path, torch.zeros(2, 3, 64, 64), ["d0", "d1"], opset_version=17, dynamic_axes=axes)
    return module, path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for name, frame_bgr in shipped_frames():
        small = cv2.resize(frame_bgr, (160, 120))
        for number in range(2):
            cv2.imwrite(str(folder / f"{name}_{number}.png"), small[8 * number :, 10 * number :])
    return folder


def frames() -> NDArray[np.uint8]:
    """(3, H, W, 3) BGR, none of those that ship."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (3, 6, 8, 3), np.uint8)
    return np.stack([cv2.resize(one, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC) for one in coarse])


def imagenet(frames_bgr: NDArray[np.uint8]) -> torch.Tensor:
    rgb = torch.from_numpy(frames_bgr[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (rgb - mean) / std


def export(*arguments: object) -> str:
    """Run saliency-export; what it says."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--engine", "none"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def maps_of(model: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    loaded = OnnxRuntimeModel.load(model)
    try:
        largest = loaded.contract.batch[1]
        return np.concatenate(
            [loaded.infer(pixels[at : at + largest]) for at in range(0, len(pixels), largest)]
        )
    finally:
        loaded.close()


def check_against(bundle: Path, expected: NDArray[np.float32], pixels: NDArray[np.uint8]) -> None:
    """fp32 to 1e-4, fp16 with a CC of .9999, int8 as the manifest says."""
    np.testing.assert_allclose(maps_of(bundle / "fp32.onnx", pixels), expected, rtol=0, atol=1e-4)
    for found, own in zip(maps_of(bundle / "fp16.onnx", pixels), expected, strict=True):
        assert np.corrcoef(found.ravel(), own.ravel())[0, 1] > 0.9999


def manifest_of(bundle: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    return manifest


@pytest.mark.slow
def test_a_mobile_encoder_decoder_of_opset_11_to_int8(
    mobile: tuple[nn.Module, Path], photographs: Path, tmp_path: Path
) -> None:
    module, path = mobile
    said = export(
        *("--onnx", path, "--input", IMAGENET, "--output-is", "logits", "--fp16", "--int8"),
        *("--calib", photographs, "--output", tmp_path / "mobile", "--search-budget", "1,8"),
    )
    with torch.inference_mode():
        expected = torch.sigmoid(module(imagenet(frames())))[:, 0].numpy()
    check_against(tmp_path / "mobile", expected, frames())

    manifest = manifest_of(tmp_path / "mobile")
    record = manifest["lineage"]["record"]
    assert record["original"] == "mobile.onnx"
    assert record["opset"] == 11
    assert manifest["reference"] == "the original"
    assert "1 ConvTranspose" in said
    grouped = [layer for layer in manifest["int8"]["layers"] if "depthwise" in layer["node"]]
    assert grouped
    assert manifest["int8"]["passed"]
    quantized = onnx.load(tmp_path / "mobile/int8.onnx")
    assert any(
        node.op_type == "Conv"
        and helper.get_node_attr_value(node, "group") > 1
        and "dequantized" in node.input[1]
        for node in quantized.graph.node
    )
    with Predictor(tmp_path / "mobile") as predictor:
        assert predictor(frames()[0]).shape == SIZE_HW


def test_a_u_net_with_free_axes_and_two_outputs(unet: tuple[nn.Module, Path], tmp_path: Path) -> None:
    module, path = unet
    arguments = ("--onnx", path, "--input", "bgr 0..255 mean=127 std=64", "--output-is", "density", "--fp16")
    export(
        *arguments, "--size", "96x128", "--batch", "1-4", "--output-name", "d0", "--output", tmp_path / "unet"
    )
    x = (torch.from_numpy(frames()).permute(0, 3, 1, 2).float() - 127) / 64
    with torch.inference_mode():
        raw = module(x)[0][:, 0].numpy()
    check_against(tmp_path / "unet", raw / raw.max(axis=(1, 2), keepdims=True), frames())
    assert manifest_of(tmp_path / "unet")["batch"] == [1, 4]

    with pytest.raises(UsageError, match=r"takes images of any size.*--size HxW"):
        load(path, "bgr, 0..255", "density")
    with pytest.raises(UsageError, match=r"several maps, d0 .*, d1 .*--output-name"):
        load(path, "bgr, 0..255", "density", size_hw=SIZE_HW)
    with pytest.raises(UsageError, match=r"--output-name d7: .* gives d0 float32"):
        load(path, "bgr, 0..255", "density", output_name="d7", size_hw=SIZE_HW)


def test_channels_last_log_density_and_weights_in_another_file(tmp_path: Path) -> None:
    module = seeded(ChannelsLast)
    path = save(module, tmp_path / "whole.onnx", torch.zeros(1, *SIZE_HW, 3), ["map"], opset_version=13)
    onnx.save(
        onnx.load(path),
        tmp_path / "parts.onnx",
        save_as_external_data=True,
        location="parts.bin",
        size_threshold=0,
    )
    export(
        *(
            "--onnx",
            tmp_path / "parts.onnx",
            "--input",
            "rgb, -1..1, nhwc, pad",
            "--output-is",
            "log-density",
        ),
        *("--fp16", "--output", tmp_path / "parts"),
    )
    x = torch.from_numpy(frames()[..., ::-1].copy()).float() / 127.5 - 1
    with torch.inference_mode():
        raw = module(x).numpy()
    check_against(tmp_path / "parts", np.exp(raw - raw.max(axis=(1, 2), keepdims=True)), frames())
    manifest = manifest_of(tmp_path / "parts")
    assert manifest["fit"] == "pad"

    weights = (tmp_path / "parts.bin").read_bytes()
    (tmp_path / "parts.bin").write_bytes(weights[:-4] + b"\0\0\0\x3f")
    other = load(tmp_path / "parts.onnx", "rgb, -1..1, nhwc", "log-density")
    assert other.sha256 != manifest["lineage"]["weights_sha256"], "the lineage covers both files"
    (tmp_path / "parts.bin").unlink()
    with pytest.raises(ArtifactError, match="keeps weights in another file"):
        load(tmp_path / "parts.onnx", "rgb, -1..1, nhwc", "log-density")


def test_operators_of_other_domains_and_same_padding(photographs: Path, tmp_path: Path) -> None:
    """What only ONNX Runtime knows stays in float; padding as TensorFlow exports it; weights used twice."""
    rng = np.random.default_rng(0)
    kernel = numpy_helper.from_array(rng.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32), "kernel")
    shared = numpy_helper.from_array(rng.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32), "shared")
    last = numpy_helper.from_array(rng.normal(0, 0.2, (1, 8, 1, 1)).astype(np.float32), "last")
    nodes = [
        helper.make_node("Conv", ["saliency", "kernel"], ["a"], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Gelu", ["a"], ["b"], domain="com.microsoft"),
        helper.make_node("Conv", ["b", "shared"], ["c"], auto_pad="SAME_LOWER", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "shared"], ["input.e"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["input.e", "last"], ["frame"]),
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("saliency", TensorProto.FLOAT, [1, 3, *SIZE_HW])],
        [helper.make_tensor_value_info("frame", TensorProto.FLOAT, [1, 1, 24, 32])],
        [kernel, shared, last],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, tmp_path / "odd.onnx")
    export(
        *(
            "--onnx",
            tmp_path / "odd.onnx",
            "--input",
            "bgr, 0..1",
            "--output-is",
            "logits",
            "--fp16",
            "--int8",
        ),
        *("--calib", photographs, "--output", tmp_path / "odd", "--search-budget", "1,8"),
    )
    x = torch.from_numpy(frames()).permute(0, 3, 1, 2).float() / 255
    weights = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in (kernel, shared, last)
    }
    with torch.inference_mode():
        x = F.gelu(F.conv2d(F.pad(x, (0, 1, 0, 1)), weights["kernel"], stride=2))
        x = F.relu(F.conv2d(F.pad(x, (1, 0, 1, 0)), weights["shared"], stride=2))
        x = F.conv2d(F.conv2d(x, weights["shared"], padding=1), weights["last"])
        expected = torch.sigmoid(x)[:, 0].numpy()
    check_against(tmp_path / "odd", expected, frames())
    assert "no half" in " ".join(manifest_of(tmp_path / "odd")["range_scan"]["kept_fp32"].values())
    layers = manifest_of(tmp_path / "odd")["int8"]["layers"]
    assert len(layers) == 4
    assert sum(layer["precision"] == "int8" for layer in layers) >= 1


def load(
    path: Path,
    given: str,
    output: OutputKind,
    *,
    output_name: str | None = None,
    size_hw: tuple[int, int] | None = None,
) -> ForeignOnnx:
    how = ForeignFormat(input=InputFormat.parse(given), output=output, output_name=output_name)
    return ForeignOnnx.load(path, how, size_hw)


class Refused(nn.Module):
    """A network that gives what `give` makes of the image."""

    def __init__(self, give: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.give = nn.Conv2d(3, 3, 3, padding=1), give

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.give(self.conv(x))


@pytest.mark.parametrize(
    ("give", "output", "reason"),
    [
        (lambda x: x.mean((2, 3)).repeat(1, 100), "logits", r"gives map float32 \(1, 300\): no map"),
        (lambda x: x, "logits", r"\(1, 3, 96, 128\): no map\. Expected one value for each place"),
        (lambda x: x.mean((2, 3), keepdim=True)[:, :1], "saliency", r"\(1, 1, 1, 1\): no map"),
        (lambda x: x[:, :1] * 0 + 0.5, "saliency", "the same for every image or place"),
        (lambda x: x[:, :1], "density", "falls to -.* a density is not negative"),
        (lambda x: x[:, :1] * 50, "saliency", "lies between .* expected 0 to 1"),
        (lambda x: x[:, :1].log(), "logits", "NaN or infinity"),
        (lambda x: (x[:, :1] > 0).long(), "saliency", "int64 .*: no map"),
    ],
)
def test_what_is_no_map_is_refused_in_one_line(
    give: Callable[[torch.Tensor], torch.Tensor], output: OutputKind, reason: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    path = save(
        Refused(give).eval(), tmp_path / "no.onnx", torch.zeros(1, 3, *SIZE_HW), ["map"], opset_version=17
    )
    with pytest.raises(ContractError, match=reason) as caught:
        load(path, IMAGENET, output)
    assert "\n" not in str(caught.value)


def test_what_takes_no_image_is_refused_in_one_line(mobile: tuple[nn.Module, Path], tmp_path: Path) -> None:
    path = mobile[1]
    with pytest.raises(ContractError, match=r"takes image float \(1, 3, 96, 128\), .*Write nchw in --input"):
        load(path, "rgb, 0..1, nhwc", "logits")
    with pytest.raises(UsageError, match=r"--size 64x64: .* takes 96x128 alone"):
        load(path, IMAGENET, "logits", size_hw=(64, 64))
    with pytest.raises(UsageError, match="takes batches of 1 and no others"):
        load(path, IMAGENET, "logits").contract((1, 4))
    with pytest.raises(ArtifactError, match="no such ONNX file"):
        load(tmp_path / "none.onnx", IMAGENET, "logits")
    (tmp_path / "junk.onnx").write_bytes(b"\x01\x02 no protobuf" * 9)
    with pytest.raises(ArtifactError, match="damaged or no ONNX model"):
        load(tmp_path / "junk.onnx", IMAGENET, "logits")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0..1", "lacks rgb or bgr"),
        ("rgb", "lacks the range"),
        ("rgb, 0..1, mean=1,2", "mean takes one number or three"),
        ("rgb, 0..1, std=0", "std takes one number or three, above 0"),
        ("rgb, 0..1, cmyk", "'cmyk' is not understood"),
        ("rgb, 0..1, bgr", "'bgr' stands twice"),
        ("rgb, 1..0", "'1..0' is not understood"),
        ("rgb, 0..1, 0.5", "'0.5' is not understood"),
    ],
)
def test_an_input_that_is_not_understood_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        InputFormat.parse(text)


def test_inputs_are_read_with_blanks_or_commas() -> None:
    whole = InputFormat.parse("BGR 0..255 mean=103.9 116.8 123.7, std=58, nhwc, pad")
    assert whole == InputFormat(
        channel_order="bgr",
        low=0,
        high=255,
        mean=(103.9, 116.8, 123.7),
        std=(58, 58, 58),
        layout="nhwc",
        fit="pad",
    )
    assert InputFormat.parse("rgb,-1..1") == InputFormat(channel_order="rgb", low=-1, high=1)


def test_options_that_belong_together() -> None:
    cases = {
        ("--onnx", "x.onnx"): "needs --input",
        ("--onnx", "x.onnx", "--input", "rgb, 0..1"): "needs --output-is",
        ("--input", "rgb, 0..1"): "--input is for a foreign ONNX file",
        ("--onnx", "x.onnx", "--network", "lite2"): "--network is for a checkpoint",
        ("bundle", "--onnx", "x.onnx"): "--onnx is for an export",
    }
    for arguments, reason in cases.items():
        done = CliRunner().invoke(app, arguments)
        assert isinstance(done.exception, SaliencyError), arguments
        assert reason in str(done.exception)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saliency", "saliency_fast", "saliency_fast_2", "saliency_fast_3"])
def test_the_glimpse_teachers(name: str, tmp_path: Path) -> None:
    path = TEACHERS / f"{name}.onnx"
    if not path.is_file():
        pytest.skip("no ../shared/data/teachers/glimpse")
    export(
        "--onnx",
        path,
        "--input",
        "rgb, 0..1",
        "--output-is",
        "density",
        "--fp16",
        "--output",
        tmp_path / name,
    )

    parity = manifest_of(tmp_path / name)["parity"]
    assert parity["fp32"]["worst"]["max_abs"] < 1e-4
    assert parity["fp16"]["worst"]["cc"] > 0.9999
    assert manifest_of(tmp_path / name)["map_size_hw"] == [30, 40]
