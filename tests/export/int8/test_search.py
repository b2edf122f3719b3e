"""The search: what hurts is named and kept out, what was measured is not measured again, failure is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from quantizing import Prepared, prepared, seeded
from saliency_edge.export.int8.options import SearchBudget
from saliency_edge.export.int8.results import GateLimits, ParetoPoint
from saliency_edge.export.int8.search import Int8Search, search_int8
from saliency_edge.export.int8.search_cache import SearchCache
from saliency_edge.export.ort_session import ort_maps
from saliency_edge.export.parity import agreement
from seeded_networks import checkpoint_of, seeded_network

BUDGET = SearchBudget(frames=2, sets=8)
CHANNEL = 7
OPEN = GateLimits(
    cc_mean=0, cc_worst=0, kldiv_mean=100, kldiv_worst=100, peak_shift_p95=1000, edge_cases=1000
)
SHUT = GateLimits(cc_mean=1, cc_worst=1, kldiv_mean=0, kldiv_worst=0, peak_shift_p95=0)


def search(start: Prepared, cache: SearchCache, limits: GateLimits, budget: SearchBudget) -> Int8Search:
    return search_int8(start.source, replace(start.gate, limits=limits), start.probes, budget, cache)


def fresh(folder: Path) -> SearchCache:
    return SearchCache(folder / "search.json", "content")


def bytes_of(model: onnx.ModelProto) -> bytes:
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def with_outlier() -> Prepared:
    """The same network but for a channel that conv5 reads, which is 1000 times as large as it was."""
    network = seeded_network("deep_half")
    with torch.no_grad():
        network.body.conv4.weight[CHANNEL] *= 1000
        network.body.conv4.bias[CHANNEL] = network.body.conv4.bias[CHANNEL] * 1000 + 1000
        network.body.conv5.weight[:, CHANNEL] /= 1000
    return prepared(checkpoint_of(network))


def kept_against_shimmer(found: Int8Search) -> list[ParetoPoint]:
    return [point for point in found.result.pareto if point.step.endswith("kept against shimmer")]


def test_outlier_channel_is_named_and_its_layer_kept_out(tmp_path: Path) -> None:
    found = search(with_outlier(), fresh(tmp_path), GateLimits(), BUDGET)
    kept = found.result.kept()

    assert "conv5" in kept
    assert f"channel {CHANNEL} of its input reaches" in kept["conv5"], kept["conv5"]
    assert len([reason for reason in kept.values() if "shimmer" not in reason]) <= 3, kept
    if found.model is not None:
        names = {node.name for node in found.model.graph.node}
        assert "conv5.weight.dequantized" not in names
        assert "conv4.weight.dequantized" in names


def test_a_set_that_shimmers_keeps_further_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights shimmer a little: a limit half-way is kept by what trembles least for its cost."""
    monkeypatch.setattr("saliency_edge.export.temporal.MAX_FLICKER_RATIO", 100.0)
    free = search(seeded("deep_half"), fresh(tmp_path / "free"), OPEN, BUDGET).temporal
    assert free is not None
    limit = 1 + (free.flicker_ratio("int8") - 1) / 2
    monkeypatch.setattr("saliency_edge.export.temporal.MAX_FLICKER_RATIO", limit)
    found = search(seeded("deep_half"), fresh(tmp_path), OPEN, BUDGET)
    steadying = [layer for layer in found.result.layers if "shimmer" in layer.reason]

    assert limit > 1
    assert found.temporal is not None
    assert not found.temporal.shimmers("int8")
    assert 1 <= len(kept_against_shimmer(found)) <= 4
    assert 1 <= len(steadying) < len(found.result.layers) - 1
    assert all(layer.precision == "float" for layer in steadying)


def test_what_no_layer_steadies_stays_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saliency_edge.export.temporal.MAX_FLICKER_RATIO", 0.0)
    found = search(seeded("deep_half"), fresh(tmp_path), OPEN, BUDGET)
    assert found.temporal is not None

    assert found.temporal.shimmers("int8")
    assert list(found.result.kept()) == ["conv9"]
    assert [point.int8_macs_share for point in kept_against_shimmer(found)] == [0.0]  # no flicker at all


def test_an_open_gate_leaves_all_layers_in_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saliency_edge.export.temporal.MAX_FLICKER_RATIO", 100.0)
    found = search(seeded("deep_half"), fresh(tmp_path), OPEN, BUDGET)
    result = found.result

    assert result.passed
    assert list(result.kept()) == ["conv9"]
    assert result.int8_macs_share > 0.98
    assert result.pareto[0].kept_nodes == ()
    assert set(found.rivals) == set(result.front()) - {result.taken} != set()
    for place, rival in found.rivals.items():
        quantised = {node.name for node in rival.graph.node if node.name.endswith(".weight.dequantized")}
        kept = {f"{name}.weight.dequantized" for name in (*result.pareto[place].kept_nodes, "conv9")}
        assert len(quantised) == len(result.layers) - len(kept)
        assert quantised.isdisjoint(kept)
    assert all(layer.reason and layer.observer for layer in result.layers if layer.precision == "int8")


def test_figures_are_those_of_the_rounded_graph_against_pytorch(tmp_path: Path) -> None:
    found = search(seeded("deep_half"), fresh(tmp_path), OPEN, SearchBudget(frames=2, sets=1))
    assert found.model is not None
    gate = seeded("deep_half").gate
    maps = ort_maps(found.model, seeded("deep_half").contract, gate.frames.pixels)
    ccs = [agreement(*pair).cc for pair in zip(maps, gate.references, strict=True)]

    # The typed graph runs without half's rounding here, hence not to the last digit.
    assert found.result.figures.cc_mean == pytest.approx(np.mean(ccs), abs=2e-3)
    assert found.result.figures.cc_worst == pytest.approx(min(ccs), abs=5e-3)


def test_a_gate_that_nothing_passes_gives_no_graph_and_says_so(tmp_path: Path) -> None:
    found = search(seeded("deep_half"), fresh(tmp_path), SHUT, SearchBudget(frames=1, sets=3))

    assert found.model is None
    assert not found.result.passed
    assert any("CC mean" in failure for failure in found.result.figures.failures(SHUT))
    assert len(found.result.pareto) <= 3


def test_a_set_without_int8_layers_does_not_pass(tmp_path: Path) -> None:
    found = search(seeded("deep_half"), fresh(tmp_path), replace(OPEN, cc_worst=1.0), BUDGET)

    assert found.result.int8_macs_share == 0
    assert found.result.failures() != []
    assert found.model is None


def test_a_stopped_search_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(seeded("deep_half"), fresh(tmp_path / "whole"), OPEN, BUDGET)
    tries = 0
    once = SearchCache.once

    def killed(self: SearchCache, name: str, measure: object) -> object:
        nonlocal tries
        tries += 1
        if tries > 5:
            raise KeyboardInterrupt
        return once(self, name, measure)  # type: ignore[arg-type]

    monkeypatch.setattr(SearchCache, "once", killed)
    with pytest.raises(KeyboardInterrupt):
        search(seeded("deep_half"), fresh(tmp_path), OPEN, BUDGET)
    monkeypatch.undo()
    measured = json.loads((tmp_path / "search.json").read_text())["values"]
    cache = fresh(tmp_path)
    again = search(seeded("deep_half"), cache, OPEN, BUDGET)

    assert len(measured) == 5
    assert all(name in cache for name in measured)
    assert again.result.to_json() == whole.result.to_json()
    assert again.model is not None
    assert whole.model is not None
    assert again.model.SerializeToString(deterministic=True) == whole.model.SerializeToString(
        deterministic=True
    )


def test_what_another_content_measured_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    SearchCache(path, "one").once("figures", lambda: {"value": 1})

    assert SearchCache(path, "one").once("figures", lambda: {"value": 2}) == {"value": 1}
    assert SearchCache(path, "other").once("figures", lambda: {"value": 2}) == {"value": 2}
    path.write_text("half of a fi", encoding="utf-8")
    assert "figures" not in SearchCache(path, "other")
