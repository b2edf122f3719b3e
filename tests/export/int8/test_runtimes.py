"""The finished int8 graph in every installed runtime: a layer that errs is found, or int8 is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantizing import Prepared, seeded
from saliency_edge.export.int8 import runtimes
from saliency_edge.export.int8.layers import conv_layers, total_macs
from saliency_edge.export.int8.options import SearchBudget
from saliency_edge.export.int8.results import GateLimits
from saliency_edge.export.int8.runtimes import RuntimeGate, RuntimeVerdict, pass_in_runtimes
from saliency_edge.export.int8.search import search_int8
from saliency_edge.export.int8.search_cache import SearchCache
from saliency_edge.export.int8.start import Starter
from saliency_edge.export.int8.trials import Trials
from saliency_edge.export.range_scan import scan_ranges
from saliency_edge.export.to_fp16 import fp16_from_fp32, kept_fp32, rounded_as_fp16

OPEN = GateLimits(
    cc_mean=0, cc_worst=0, kldiv_mean=100, kldiv_worst=100, peak_shift_p95=1000, edge_cases=1000
)
REFERENCE = "ONNX Runtime, optimisation off"


def joined(limits: GateLimits) -> Prepared:
    """MLNet with its Concat, as it must not be: OpenVINO errs behind it."""
    start = seeded("mlnet_small")
    fp32, pixels = start.exported, start.gate.frames.pixels
    kept = kept_fp32(fp32, scan_ranges(fp32, start.contract, pixels))
    source = replace(
        start.source, fp32=fp32, body=fp16_from_fp32(fp32, kept), rounded=rounded_as_fp16(fp32, kept)
    )
    return replace(start, source=source, gate=replace(start.gate, limits=limits))


def trials_of(start: Prepared, folder: Path) -> Trials:
    cache = SearchCache(folder / "search.json", "content")
    layers = [layer for layer in conv_layers(start.source.fp32) if layer.refused is None]
    plain = Starter(start.source, start.gate, layers, start.probes.every(8), cache).plain()
    plain = replace(plain, broken=frozenset())
    return Trials(plain, total_macs(start.source.fp32), start.gate, cache, 8)


def by_name(verdicts: tuple[RuntimeVerdict, ...]) -> dict[str, RuntimeVerdict]:
    return {verdict.runtime: verdict for verdict in verdicts}


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory) -> GateLimits:
    """Limits that the reference arithmetic passes with the Concat, and OpenVINO does not."""
    pytest.importorskip("openvino", reason="the runtime that errs")
    start = joined(OPEN)
    trials = trials_of(start, tmp_path_factory.mktemp("limits"))
    found = by_name(RuntimeGate(start.gate, start.source.fp32).judge(trials.model(frozenset())))
    right, wrong = (found[name].figures for name in (REFERENCE, "OpenVINO"))
    assert right is not None
    assert wrong is not None
    assert wrong.kldiv_mean > 3 * right.kldiv_mean
    return replace(OPEN, kldiv_mean=(wrong.kldiv_mean * right.kldiv_mean) ** 0.5)


@pytest.mark.slow
def test_the_layer_that_a_runtime_gets_wrong_is_left_in_fp16(between: GateLimits, tmp_path: Path) -> None:
    start = joined(between)
    trials = trials_of(start, tmp_path)
    point = trials.attempt([], "all layers")

    assert point.passed
    chosen, verdicts, repairs = pass_in_runtimes(trials, point, RuntimeGate(start.gate, start.source.fp32))
    assert repairs == {"encode": "OpenVINO"}
    assert chosen.kept_nodes == ("encode",)
    assert chosen.passed
    assert all(verdict.passed for verdict in verdicts)
    assert {REFERENCE, "ONNX Runtime, optimisation all", "OpenVINO"} <= set(by_name(verdicts))


@pytest.mark.slow
def test_int8_is_refused_where_a_runtime_stays_wrong(
    between: GateLimits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "MOST_REPAIRS", 0)
    start = joined(between)
    cache = SearchCache(tmp_path / "refused.json", "content")
    search = search_int8(start.source, start.gate, start.probes, SearchBudget(frames=1, sets=2), cache)

    assert search.model is None
    assert not search.result.passed
    assert search.result.failures()[0].startswith("OpenVINO: KLDiv mean")
    assert search.result.to_json()["runtimes"][REFERENCE]["passed"]
    assert not search.result.to_json()["runtimes"]["OpenVINO"]["passed"]


def test_a_sound_graph_passes_everywhere(tmp_path: Path) -> None:
    start = seeded("deep_half")
    start = replace(start, gate=replace(start.gate, limits=OPEN))
    trials = trials_of(start, tmp_path)
    verdicts = RuntimeGate(start.gate, start.source.fp32).judge(trials.model(frozenset()))

    assert all(verdict.passed for verdict in verdicts), [verdict.refusal for verdict in verdicts]
    assert "OpenCV DNN" in by_name(verdicts)
    errors = [verdict.response_error for verdict in verdicts]
    assert errors == pytest.approx([errors[0]] * len(errors), abs=0.05)  # runtimes agree, right or wrong
