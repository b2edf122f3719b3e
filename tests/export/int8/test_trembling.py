"""What each layer alone makes tremble is what its int8 graph shows, and the cheapest calm set is found."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest

from quantizing import seeded
from saliency_edge.calib.frames import shipped_clip
from saliency_edge.export.int8.layers import conv_layers
from saliency_edge.export.int8.quantize import quantize
from saliency_edge.export.int8.search_cache import SearchCache
from saliency_edge.export.int8.start import Starter
from saliency_edge.export.int8.trembling import Trembling, trembling_alone
from saliency_edge.export.ort_session import ort_maps
from saliency_edge.export.temporal import read_clip

NAMES = [f"layer{number}" for number in range(7)]


@pytest.fixture
def trembling() -> Trembling:
    rng = np.random.default_rng(0)
    macs = dict(zip(NAMES, rng.integers(1, 100, len(NAMES)).tolist(), strict=True))
    alone = dict(zip(NAMES, rng.random(len(NAMES)).tolist(), strict=True))
    return Trembling(macs=macs, alone=alone)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.6, 0.9, 1.0])
def test_no_cheaper_set_is_as_calm(trembling: Trembling, share: float) -> None:
    given = frozenset({NAMES[2]})
    most = share * trembling.of_others(frozenset())
    chosen = trembling.cheapest(given, most)
    every = chain.from_iterable(combinations(NAMES, size) for size in range(len(NAMES) + 1))
    calm = [kept for kept in map(set, every) if given <= kept and trembling.of_others(kept) <= most]

    assert given <= chosen
    assert trembling.of_others(chosen) <= most
    assert sum(trembling.macs[name] for name in chosen) == min(
        sum(trembling.macs[name] for name in kept) for kept in calm
    )


def test_where_nothing_is_calm_enough_all_stay_float(trembling: Trembling) -> None:
    assert trembling.cheapest(frozenset(), -1.0) == set(NAMES)


def test_a_layer_trembles_as_its_graph_does(tmp_path: Path) -> None:
    start = seeded("deep_half")
    layers = [layer for layer in conv_layers(start.source.fp32) if layer.refused is None]
    cache = SearchCache(tmp_path / "search.json", "content")
    plain = Starter(start.source, start.gate, layers, start.probes.every(8), cache).plain()
    clip = read_clip(shipped_clip(), start.contract, 3).pixels
    trembling = trembling_alone(plain, start.contract, clip, cache)
    others = frozenset(layer.node for layer in layers) - {"conv3"}
    alone = quantize(start.source.fp32, plain.recipe.convs(others))
    exact = ort_maps(start.source.fp32, start.contract, clip)
    found = ort_maps(alone, replace(start.contract, precision="int8"), clip)
    errors = found.astype(np.float64) - exact

    assert set(trembling.alone) == {layer.node for layer in layers} - plain.broken
    assert trembling.alone["conv3"] == pytest.approx(np.mean(np.diff(errors, axis=0) ** 2), rel=0.05)
    assert trembling.macs == {layer.node: layer.macs for layer in layers}
