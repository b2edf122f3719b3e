"""Equalised channels: the same maps to the last bit, and less harm where channels are uneven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from quantizing import Prepared, minmax_convs, prepared, seeded
from saliency_edge.export.int8.equalise import Octaves, equalised, find_links, octaves_of
from saliency_edge.export.int8.layers import ConvLayer, conv_layers, shared_scales, shared_thresholds
from saliency_edge.export.int8.octaves import OctaveChoice
from saliency_edge.export.int8.options import SearchBudget
from saliency_edge.export.int8.quantize import Int8Conv
from saliency_edge.export.int8.results import GateLimits, Int8Result
from saliency_edge.export.int8.search import search_int8
from saliency_edge.export.int8.search_cache import SearchCache
from saliency_edge.export.int8.segments import Segments
from saliency_edge.export.int8.start import EQUALISATION
from saliency_edge.export.layer_error import layer_errors
from saliency_edge.export.ort_session import ort_maps
from seeded_networks import checkpoint_of, seeded_network


def layers_of(start: Prepared) -> list[ConvLayer]:
    return [layer for layer in conv_layers(start.source.fp32) if layer.refused is None]


def captured(start: Prepared) -> list[dict[str, np.ndarray]]:
    segments = Segments(start.source.fp32, start.contract, layers_of(start))
    return segments.capture(start.probes.pixels[:2])


def convs_of(start: Prepared) -> dict[str, Int8Conv]:
    """Quantise at the largest values seen, what a Concat joins at one threshold."""
    layers = layers_of(start)
    convs = minmax_convs(start.source.fp32, start.source.ranges)
    groups = shared_scales(start.source.fp32, [layer.tensor for layer in layers])
    thresholds = {layer.tensor: convs[layer.node].threshold for layer in layers}
    joined = shared_thresholds(groups, thresholds)
    return {layer.node: replace(convs[layer.node], threshold=joined[layer.tensor]) for layer in layers}


def octaves_for(start: Prepared) -> Octaves:
    layers = layers_of(start)
    segments = Segments(start.source.fp32, start.contract, layers)
    choice = OctaveChoice(layers, convs_of(start), segments, captured(start))
    return choice.octaves(find_links(start.source.fp32))


def with_concat(start: Prepared) -> Prepared:
    """Leave the Concat where it is, as in a graph whose Concat something else than a convolution reads."""
    return replace(start, source=replace(start.source, fp32=start.exported))


def with_uneven_channels() -> Prepared:
    """MLNet, every other channel of an early block a sixty-fourth of what it was, and the same maps."""
    network = seeded_network("mlnet_small")
    with torch.no_grad():
        maker, reader = network.body.blocks[1][0], network.body.blocks[1][2]
        maker.weight[::2] /= 64
        maker.bias[::2] /= 64
        reader.weight[:, ::2] *= 64
    limits = GateLimits(kldiv_mean=1e-4, kldiv_worst=0.1, cc_mean=0.9, cc_worst=0.9, edge_cases=1000)
    return prepared(checkpoint_of(network), limits)


def searched(start: Prepared, budget: SearchBudget, path: Path) -> Int8Result:
    return search_int8(start.source, start.gate, start.probes, budget, SearchCache(path, "content")).result


@pytest.mark.parametrize("name", ["deep_half", "mlnet_small"])
def test_maps_stay_the_same_to_the_last_bit(name: str) -> None:
    start = seeded(name)
    octaves = octaves_for(start)
    pixels = start.gate.frames.pixels[:2]
    changed = equalised(start.source.fp32, find_links(start.source.fp32), octaves)

    assert any(any(exponents) for exponents in octaves.values())
    assert octaves_of(changed) == {maker: list(exponents) for maker, exponents in octaves.items()}
    assert octaves_of(start.source.fp32) == {}
    np.testing.assert_array_equal(
        ort_maps(changed, start.contract, pixels), ort_maps(start.source.fp32, start.contract, pixels)
    )


def test_links_end_at_what_is_not_homogeneous() -> None:
    deep = {link.maker: link.readers for link in find_links(seeded("deep_half").source.fp32)}

    assert "conv1" not in deep  # its ReLU feeds the LRN
    assert [reader.node for reader in deep["conv4"]] == ["conv5"]


def test_links_lead_through_max_pool_border_and_concat() -> None:
    found = {
        link.maker: {reader.node: reader.first for reader in link.readers}
        for link in find_links(seeded("mlnet_small").exported)
    }

    assert found["blocks.1.2"] == {"blocks.2.0": 0}
    assert found["blocks.2.4"] == {"blocks.3.0": 0, "encode": 0}
    assert found["blocks.3.4"] == {"blocks.4.0": 0, "encode": 256}
    assert found["blocks.4.4"] == {"encode": 256 + 512}


def test_what_is_weaker_than_what_it_is_joined_with_is_enlarged() -> None:
    """What blocks.4.0 reads shares the scale of the Concat; here it reaches a sixteenth of what it did."""
    network = seeded_network("mlnet_small")
    with torch.no_grad():
        blocks, encode = network.body.blocks, network.body.encode
        blocks[3][4].weight /= 16
        blocks[3][4].bias /= 16
        blocks[4][0].weight *= 16
        encode.weight[:, 256 : 256 + 512] *= 16
    octaves = octaves_for(with_concat(prepared(checkpoint_of(network))))["blocks.3.4"]

    assert np.mean(octaves) > np.mean(octaves_for(with_concat(seeded("mlnet_small")))["blocks.3.4"]) + 1.5


def test_channels_that_reach_alike_stay_as_they_are() -> None:
    """The deep convnet's random channels: an octave would cost the weights what it gains the activations."""
    octaves = octaves_for(seeded("deep_half"))

    assert all(np.mean(exponents) < 1 for exponents in octaves.values()), octaves


def test_nodes_are_compared_at_the_same_scale() -> None:
    start = seeded("mlnet_small")
    changed = equalised(start.source.fp32, find_links(start.source.fp32), octaves_for(start))
    errors = layer_errors(start.source.fp32, changed, start.contract, start.probes.pixels[:1])

    assert min(error.sqnr_db for error in errors) == 200.0


def test_uneven_channels_are_equalised_where_layers_would_have_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saliency_edge.export.temporal.MAX_FLICKER_RATIO", 100.0)
    start = with_uneven_channels()
    octaves = octaves_for(start)["blocks.1.0"]
    assert np.mean(octaves[::2]) > np.mean(octaves[1::2]) + 2

    budget = SearchBudget(frames=2, sets=6)
    result = searched(start, budget, tmp_path / "equalised.json")
    monkeypatch.setattr(OctaveChoice, "octaves", lambda _choice, _links: {})
    plain = searched(start, budget, tmp_path / "plain.json")

    assert EQUALISATION in result.repairs
    assert result.pareto[0].passed
    assert list(result.kept()) == ["readout"]
    assert EQUALISATION not in plain.repairs
    assert not plain.pareto[0].passed
