"""Convolutions behind a Concat are split: the same maps, and OpenVINO's fault with Concat is avoided."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from onnx import helper

from quantizing import seeded, weights_of
from saliency_edge.export.int8.branches import split_concats
from saliency_edge.export.int8.layers import conv_layers, total_macs
from saliency_edge.export.int8.quantize import Int8Conv, quantize
from saliency_edge.export.ort_session import cpu_session, ort_maps
from toy_models import deployed

BRANCHES = ["encode.0", "encode.1", "encode.2"]
CHANNELS = 4


@cache
def mlnet() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    model = seeded("mlnet_small").exported
    return model, split_concats(model)


def test_the_maps_stay_the_same() -> None:
    model, split = mlnet()
    frames = seeded("mlnet_small").gate.frames.pixels
    contract = seeded("mlnet_small").contract

    assert_allclose(ort_maps(split, contract, frames), ort_maps(model, contract, frames), rtol=0, atol=1e-5)
    assert total_macs(split) == total_macs(model)


def test_each_branch_is_a_convolution_of_its_part_of_the_kernel() -> None:
    model, split = mlnet()
    before, after = weights_of(model), weights_of(split)
    layers = {layer.node: layer.tensor for layer in conv_layers(split)}

    assert not any(node.op_type == "Concat" for node in split.graph.node)
    assert [layers[name] for name in BRANCHES] == [
        "blocks.2.4.maxpool",
        "blocks.3.4.maxpool",
        "blocks.4.4.relu",
    ]
    joined = np.concatenate([after[f"{name}.weight"] for name in BRANCHES], axis=1)
    assert_allclose(joined, before["encode.weight"], rtol=0, atol=0)
    assert "encode.weight" not in after
    assert next(node for node in split.graph.node if node.name == "encode").output[0] == "encode"


def test_a_graph_without_concat_is_given_back() -> None:
    model = seeded("deep_half").exported

    assert split_concats(model) is model


def joining(channels: int = CHANNELS) -> onnx.ModelProto:
    """Join the frame's red plane twice, and convolve with a unit matrix, so that levels can be counted."""
    size = 2 * channels
    unit = np.eye(size, dtype=np.float32)[:, :, None, None]
    pick = np.zeros((channels, 3, 1, 1), np.float32)
    pick[:, 2] = 1 / 255
    body = [
        *(helper.make_node("Conv", ["data", "pick"], [name], name=name) for name in ("left", "right")),
        *(
            helper.make_node("Relu", [name], [f"{name}.relu"], name=f"{name}.relu")
            for name in ("left", "right")
        ),
        helper.make_node("Concat", ["left.relu", "right.relu"], ["both"], name="both", axis=1),
        helper.make_node("Conv", ["both", "unit", "bias"], ["conv"], name="conv"),
    ]
    return deployed("joining", body, {"pick": pick, "unit": unit, "bias": np.zeros(size, np.float32)})


def levels(model: onnx.ModelProto, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute all levels of red in OpenVINO, and in ONNX Runtime as written."""
    openvino = pytest.importorskip("openvino", reason="the second implementation")
    frame = np.arange(24 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, 24, 32, 3)
    onnx.save(model, path)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(str(path), "CPU", settings)({"frame": frame})["saliency"]
    return found, cpu_session(model).run(None, {"frame": frame})[0]


def int8_convs(model: onnx.ModelProto, names: list[str]) -> dict[str, Int8Conv]:
    weights = weights_of(model)
    return {
        name: Int8Conv(threshold=1.0, weights=weights[layer.weight], bias=weights[layer.bias or ""])
        for name, layer in ((layer.node, layer) for layer in conv_layers(model))
        if name in names
    }


def test_split_int8_is_the_same_in_openvino(tmp_path: Path) -> None:
    model = split_concats(joining())
    found, exact = levels(quantize(model, int8_convs(model, ["conv.0", "conv.1"])), tmp_path / "split.onnx")

    assert len(np.unique(exact.round(4))) == 128
    assert_allclose(found, exact, rtol=0, atol=1e-5)


def test_openvino_has_16_levels_behind_a_concat(tmp_path: Path) -> None:
    """The fault that `branches.py` avoids. Where this fails, OpenVINO has fixed it: see ADR 070."""
    model = joining()
    found, exact = levels(quantize(model, int8_convs(model, ["conv"])), tmp_path / "joined.onnx")

    assert len(np.unique(exact.round(4))) == 128
    assert len(np.unique(found.round(4))) <= 16
    assert np.abs(found - exact).max() > 0.03
