"""Ranges of the fp32 graph's tensors, held against PyTorch's own activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from saliency_edge.export.range_scan import FP16_MAX, RangeScan, scan_ranges
from saliency_edge.export.summary import range_line
from saliency_edge.export.to_onnx import contract_of
from saliency_edge.train.checkpoint import Checkpoint
from seeded_networks import exported, frames_for, seeded_checkpoint, torch_maps


def convolution_maxima(checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Take each convolution's largest absolute output in PyTorch."""
    maxima: dict[str, float] = {}
    body = checkpoint.network.body
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    layers = {name: module for name, module in body.named_modules() if isinstance(module, kinds)}

    def watch(name: str) -> None:
        def note(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
            maxima[name] = float(output.abs().max())

        layers[name].register_forward_hook(note)

    for name in layers:
        watch(name)
    torch_maps(checkpoint, pixels)
    return maxima


@pytest.mark.parametrize(
    ("name", "batch"),
    [("deep_half", (1, 1)), ("deep_half", (1, 8)), ("deep_half", (2, 2)), ("mlnet_small", (1, 8))],
)
def test_maxima_are_pytorchs(name: str, batch: tuple[int, int]) -> None:
    checkpoint = seeded_checkpoint(name)
    pixels = frames_for(checkpoint).pixels
    model = exported(name, batch)
    before = model.SerializeToString()

    scan = scan_ranges(model, contract_of(checkpoint, batch), pixels)

    expected = convolution_maxima(checkpoint, pixels)
    assert_allclose([scan.max_abs[layer] for layer in expected], list(expected.values()), rtol=1e-4)
    assert scan.max_abs["input.cast"] == pixels.max()
    assert list(scan.max_abs) == [tensor for node in model.graph.node for tensor in node.output]
    assert scan.frames == len(pixels)
    assert model.SerializeToString() == before


def test_sums_of_squares_inside_lrn_are_bounded() -> None:
    checkpoint = seeded_checkpoint("deep_half")
    scan = scan_ranges(
        exported("deep_half", (1, 1)), contract_of(checkpoint, (1, 1)), frames_for(checkpoint).pixels
    )

    assert list(scan.squares) == ["conv1.lrn"]
    assert scan.squares["conv1.lrn"] == pytest.approx(5 * scan.max_abs["conv1.relu"] ** 2)


def test_near_is_a_quarter_of_the_limit() -> None:
    limit = FP16_MAX / 4
    scan = RangeScan(
        frames=1,
        max_abs={"input.cast": 1e6, "under": limit * 0.99, "at": limit, "over": 1e5},
        squares={"small": limit * 0.99, "large": limit},
    )

    assert FP16_MAX == 65504
    assert set(scan.near()) == {"input.cast", "at", "over"}
    assert set(scan.near_squares()) == {"large"}
    assert scan.largest() == ("over", 1e5)
    assert range_line(scan).endswith("kept in fp32: input.cast, at, over, large")
