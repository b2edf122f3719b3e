"""Equalised channels: the same maps to the last bit, none beyond its range, less harm where uneven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from quantizing import Prepared, prepared, seeded
from saliency_edge.export.int8.equalise import (
    choose_octaves,
    equalised,
    find_links,
    octaves_of,
)
from saliency_edge.export.int8.layers import conv_layers
from saliency_edge.export.int8.measure import Measure
from saliency_edge.export.int8.options import SearchBudget
from saliency_edge.export.int8.results import GateLimits
from saliency_edge.export.int8.search import search_int8
from saliency_edge.export.int8.search_cache import SearchCache
from saliency_edge.export.int8.segments import Segments
from saliency_edge.export.int8.start import EQUALISATION
from saliency_edge.export.layer_error import layer_errors
from saliency_edge.export.ort_session import ort_maps
from seeded_networks import checkpoint_of, seeded_network


def measure_of(reach: np.ndarray) -> Measure:
    return Measure(
        observer="minmax",
        threshold=1.0,
        sqnr_db=0.0,
        mean_error=(),
        cc_alone=1.0,
        kldiv_alone=0.0,
        reach=tuple(reach.tolist()),
    )


def reaches(start: Prepared) -> dict[str, np.ndarray]:
    """Give what each channel of each activation reaches, by the convolution that reads it."""
    layers = [layer for layer in conv_layers(start.source.fp32) if layer.refused is None]
    captured = Segments(start.source.fp32, start.contract, layers).capture(start.probes.pixels)
    return {
        layer.node: np.max([np.abs(frame[layer.tensor]).max(axis=(0, 2, 3)) for frame in captured], axis=0)
        for layer in layers
    }


def octaves_for(start: Prepared) -> dict[str, tuple[int, ...]]:
    measures = {name: measure_of(reach) for name, reach in reaches(start).items()}
    return choose_octaves(find_links(start.source.fp32), start.source.ranges.tensors, measures)


def with_uneven_channels() -> Prepared:
    """MLNet, every other channel of an early block a sixty-fourth of what it was, and the same maps."""
    network = seeded_network("mlnet_small")
    with torch.no_grad():
        maker, reader = network.body.blocks[1][0], network.body.blocks[1][2]
        maker.weight[::2] /= 64
        maker.bias[::2] /= 64
        reader.weight[:, ::2] *= 64
    limits = GateLimits(kldiv_mean=1e-4, kldiv_worst=0.1, cc_mean=0.9, cc_worst=0.9)
    return prepared(checkpoint_of(network), limits)


@pytest.mark.parametrize("name", ["deep_half", "mlnet_small"])
def test_maps_stay_the_same_to_the_last_bit(name: str) -> None:
    start = seeded(name)
    octaves = octaves_for(start)
    pixels = start.gate.frames.pixels[:2]
    changed = equalised(start.source.fp32, octaves)

    assert any(any(exponents) for exponents in octaves.values())
    assert octaves_of(changed) == {maker: list(exponents) for maker, exponents in octaves.items()}
    assert octaves_of(start.source.fp32) == {}
    np.testing.assert_array_equal(
        ort_maps(changed, start.contract, pixels), ort_maps(start.source.fp32, start.contract, pixels)
    )


def test_no_channel_is_enlarged_beyond_what_calibration_saw() -> None:
    start = seeded("mlnet_small")
    reach, ranges = reaches(start), start.source.ranges.tensors
    for link in find_links(start.source.fp32):
        exponents = octaves_for(start).get(link.maker)
        if exponents is not None:
            enlarged = (reach[link.readers[0]] * np.exp2(exponents))[np.array(exponents) > 0]
            assert enlarged.max(initial=0) <= ranges[link.tensor].thresholds["minmax"] * (1 + 1e-6), link


def test_links_end_at_what_is_not_homogeneous_or_is_read_elsewhere() -> None:
    deep = {link.maker: link.readers for link in find_links(seeded("deep_half").source.fp32)}
    mlnet = {link.maker: link.readers for link in find_links(seeded("mlnet_small").source.fp32)}

    assert "conv1" not in deep  # its ReLU feeds the LRN
    assert deep["conv4"] == ("conv5",)
    assert mlnet["blocks.1.2"] == ("blocks.2.0",)  # through MaxPool
    assert "blocks.2.4" not in mlnet  # pool3 is an input of the Concat too
    assert "blocks.4.4" not in mlnet


def test_nodes_are_compared_at_the_same_scale() -> None:
    start = seeded("mlnet_small")
    changed = equalised(start.source.fp32, octaves_for(start))
    errors = layer_errors(start.source.fp32, changed, start.contract, start.probes.pixels[:1])

    assert min(error.sqnr_db for error in errors) == 200.0


def test_uneven_channels_are_equalised_where_layers_would_have_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saliency_edge.export.temporal.MAX_FLICKER_RATIO", 100.0)
    start = with_uneven_channels()
    octaves = octaves_for(start)["blocks.1.0"]
    budget, cache = SearchBudget(frames=2, sets=6), SearchCache(tmp_path / "search.json", "content")
    result = search_int8(start.source, start.gate, start.probes, budget, cache).result
    steps = {point.step: point for point in result.pareto}

    assert np.mean(octaves[::2]) > np.mean(octaves[1::2]) + 2
    assert not steps["all layers"].passed
    assert steps["equalised: all layers"].passed
    assert EQUALISATION in result.repairs
    assert list(result.kept()) == ["readout"]
