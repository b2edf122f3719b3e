"""Figures held against a baseline: what got worse, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .accuracy import MapSample
from .baseline import Baseline, BaselineModel
from .figures import BenchResult, ModelFigures
from .host import KIND
from .loops import CPU, FRAME
from .statistics import Interval, change_interval

Verdict = Literal["ok", "worse", "better", "unsure", "not held"]

# What a stage has to take more, the lesser of both: one that only finds the caches colder is not worse.
_LEAST_GROWTH_MS = 0.1
_LEAST_GROWTH_PART = 0.01  # of the whole frame
_LEAST_STARTS = 3  # fewer have no spread to tell noise by
_SLACK_BYTES = 16 * 1024
_SLACK_MAP = 1e-4  # the tolerance of fp32 maps
_GOLDEN_GROWTH = 1.25
_MOVERS = frozenset({"Cast", "Concat", "Identity", "Pad", "Reshape", "Slice", "Transpose"})
"""Operators that compute nothing: one more is a cost without a use. Q/DQ nodes have one: a layer in int8."""
_NAMES = {FRAME: "the whole frame", CPU: "the processor's work for a frame"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much worse a figure may get.

    Attributes:
        tolerance: as a part, of times and sizes.
        leak_mb: of memory growth, per 100 frames.
    """

    tolerance: float = 0.1
    leak_mb: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure and what became of it.

    Attributes:
        model: its name, or `install`.
        figure: its name.
        verdict: `worse` is a regression; `unsure` looks like one, but the machine is too busy to tell; `not
            held` where one of the sides is missing.
        sentence: for people.
    """

    model: str
    figure: str
    verdict: Verdict
    sentence: str


Held: TypeAlias = Callable[[ModelFigures, BaselineModel, Limits], Iterator[Check]]


def check(result: BenchResult, baseline: Baseline, limits: Limits) -> list[Check]:
    """Hold a run against a baseline.

    A time is a regression where its whole confidence interval lies beyond the tolerance; what is counted,
    such as bytes and nodes, is one where it is beyond it at all.
    """
    checks = [_install(result, baseline, limits)]
    for model in result.models:
        before = baseline.models.get(model.name)
        if before is None:
            sentence = f"{model.name} is not in {baseline.path.name}: {', '.join(baseline.models)} are"
            checks.append(_check(model, "all", "not held", sentence))
            continue
        for held in (_times, _start_up, _growth, _peak_memory, _allocations, _graph, _golden, _pictures):
            checks += held(model, before, limits)
    return checks


def differences_in_kind(result: BenchResult, baseline: Baseline) -> list[str]:
    """Say how this machine is of another kind than the baseline's; there, its ratios need not hold."""
    found, expected = result.machine, baseline.machine
    return [
        f"{name} is {found.get(name)}, the baseline's was {expected.get(name)}"
        for name in KIND
        if found.get(name) != expected.get(name)
    ]


def _times(model: ModelFigures, before: BaselineModel, limits: Limits) -> Iterator[Check]:
    if model.reference is None:
        return
    for stage, ratios in model.reference.ratios.items():
        if stage not in before.ratios:
            continue
        now_ms = model.cases[0].alone.latency[stage].p50_ms
        change = change_interval(before.ratios[stage], ratios)
        name = _NAMES.get(stage, stage)
        growth_ms = now_ms * (1 - 1 / change.estimate)
        verdict = _verdict_of(change, limits.tolerance)
        if verdict != "better" and growth_ms < _least_growth_ms(model):
            verdict = "ok"
        yield _check(
            model, f"time of {name}", verdict, f"{name} takes {_change_text(change, limits)}; {now_ms:.2f} ms"
        )


def _least_growth_ms(model: ModelFigures) -> float:
    frame_ms = model.cases[0].alone.latency[FRAME].p50_ms
    return min(_LEAST_GROWTH_MS, _LEAST_GROWTH_PART * frame_ms)


def _start_up(model: ModelFigures, before: BaselineModel, limits: Limits) -> Iterator[Check]:
    if model.start_up is None or before.start_up_ratios is None:
        return
    change = change_interval(before.start_up_ratios, model.start_up.ratios)
    sentence = f"a cold start takes {_change_text(change, limits)}; {model.start_up.first_map_s:.2f} s"
    verdict = _verdict_of(change, limits.tolerance)
    few = min(len(before.start_up_ratios), len(model.start_up.ratios)) < _LEAST_STARTS
    yield _check(model, "start-up", "unsure" if few and verdict == "worse" else verdict, sentence)


def _growth(model: ModelFigures, _before: BaselineModel, limits: Limits) -> Iterator[Check]:
    growth = model.cases[0].alone.growth_mb
    if growth is None:
        return
    text = f"{growth.estimate:.2f} MB per 100 frames [{growth.low:.2f}, {growth.high:.2f}]"
    verdict: Verdict = "worse" if growth.low > limits.leak_mb else "ok"
    yield _check(model, "memory growth", verdict, f"memory grows by {text}; allowed {limits.leak_mb}")


def _peak_memory(model: ModelFigures, before: BaselineModel, limits: Limits) -> Iterator[Check]:
    now = model.start_up.peak_rss_mb if model.start_up else None
    if now is None or before.peak_rss_mb is None:
        return
    sentence = _size_text("a cold start's peak memory is", before.peak_rss_mb, now, "MB", limits)
    yield _check(model, "peak memory", _verdict_of_size(before.peak_rss_mb, now, limits), sentence)


def _allocations(model: ModelFigures, before: BaselineModel, limits: Limits) -> Iterator[Check]:
    for stage, now in model.allocated_bytes.items():
        then = before.allocated_bytes.get(stage)
        if then is None:
            continue
        verdict = "ok" if now <= then + _SLACK_BYTES else _verdict_of_size(then, now, limits)
        sentence = _size_text(f"{stage} allocates", then / 1024, now / 1024, "KiB a frame", limits)
        yield _check(model, f"memory of {stage}", verdict, sentence)


def _graph(model: ModelFigures, before: BaselineModel, _limits: Limits) -> Iterator[Check]:
    if model.cost is None or before.macs is None:
        return
    now, then = model.cost.operators, before.operators
    grown = [
        f"{name} nodes: {now[name]}, baseline {then.get(name, 0)}"
        for name in sorted(_MOVERS & set(now))
        if now[name] > then.get(name, 0)
    ]
    if model.cost.macs > before.macs:
        grown.append(f"{model.cost.macs / 1e9:.2f} GMAC, the baseline {before.macs / 1e9:.2f}")
    sentence = (
        f"the graph has {'; '.join(grown)}" if grown else f"the graph has {model.cost.macs / 1e9:.2f} GMAC"
    )
    yield _check(model, "graph", "worse" if grown else "ok", sentence)


def _golden(model: ModelFigures, before: BaselineModel, _limits: Limits) -> Iterator[Check]:
    if model.golden is None or before.golden is None:
        return
    pairs = {
        "largest": (before.golden.max_abs, model.golden.max_abs),
        "mean": (before.golden.mean_abs, model.golden.mean_abs),
    }
    worse = [
        f"{name} {now:.2g} (baseline {then:.2g}, allowed {_GOLDEN_GROWTH * then + _SLACK_MAP:.2g})"
        for name, (then, now) in pairs.items()
        if not now <= _GOLDEN_GROWTH * then + _SLACK_MAP
    ]
    differences = ", ".join(worse) or f"largest {model.golden.max_abs:.2g}, mean {model.golden.mean_abs:.2g}"
    sentence = f"golden maps differ from PyTorch's: {differences}"
    yield _check(model, "golden maps", "worse" if worse else "ok", sentence)


def _pictures(model: ModelFigures, before: BaselineModel, _limits: Limits) -> Iterator[Check]:
    allowed = 10 * _SLACK_MAP + (before.golden.max_abs if before.golden else 0.0)
    for name, now in model.samples.items():
        then = before.samples.get(name)
        if then is not None:
            yield _picture(model, name, then, now, allowed)


def _picture(model: ModelFigures, name: str, then: MapSample, now: MapSample, allowed: float) -> Check:
    figure = f"map of a {name} picture"
    if then.map_hw != now.map_hw:
        shapes = " cells, the baseline's was ".join(
            f"{height}x{width}" for height, width in (now.map_hw, then.map_hw)
        )
        return _check(model, figure, "worse", f"the {figure} has {shapes}: look at fit and crop")
    difference = now.largest_difference(then)
    verdict: Verdict = "ok" if difference <= allowed else "worse"
    where = "" if verdict == "ok" else ": where golden maps are right, look at fit and crop"
    text = f"the {figure} differs from the baseline's by up to {difference:.2g}, allowed {allowed:.2g}{where}"
    return _check(model, figure, verdict, text)


def _install(result: BenchResult, baseline: Baseline, limits: Limits) -> Check:
    now, then = sum(result.base_install_mb.values()), baseline.base_install_mb
    sentence = _size_text("a base install weighs", then, now, "MB", limits)
    return Check(
        model="install", figure="weight", verdict=_verdict_of_size(then, now, limits), sentence=sentence
    )


def _check(model: ModelFigures, figure: str, verdict: Verdict, sentence: str) -> Check:
    return Check(model=model.name, figure=figure, verdict=verdict, sentence=sentence)


def _verdict_of(change: Interval, tolerance: float) -> Verdict:
    if change.low > 1 + tolerance:
        return "worse"
    if change.estimate > 1 + tolerance:
        return "unsure"
    return "better" if change.high < 1 / (1 + tolerance) else "ok"


def _verdict_of_size(then: float, now: float, limits: Limits) -> Verdict:
    return "worse" if now > then * (1 + limits.tolerance) else "ok"


def _change_text(change: Interval, limits: Limits) -> str:
    """Say `12% longer [9%, 15%] than in the baseline, allowed 10%`."""
    low, estimate, high = (100 * (value - 1) for value in (change.low, change.estimate, change.high))
    word = "longer" if estimate >= 0 else "less"
    interval = f"[{low:+.0f}%, {high:+.0f}%]"
    return (
        f"{abs(estimate):.0f}% {word} {interval} than in the baseline, allowed {100 * limits.tolerance:.0f}%"
    )


def _size_text(subject: str, then: float, now: float, unit: str, limits: Limits) -> str:
    return f"{subject} {now:.1f} {unit}, the baseline {then:.1f}, allowed {100 * limits.tolerance:.0f}% more"
