"""Baselines: results of a run as a JSON file, and the comparison of a later run with them.

A time is a regression where its whole confidence interval lies beyond the tolerance. What is counted, such as
bytes and nodes, is a regression where it is beyond the tolerance at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ..artifact import write_json
from ..errors import ArtifactError
from ..records import Side, check_schema, read_json, to_record
from .accuracy import GoldenDifference, MapSample
from .host import MACHINE_KIND
from .measure import BenchResult, ModelResult
from .statistics import Interval, change_interval
from .timing import CPU, FRAME

SCHEMA = 1
_MAX_REPEATS = 10_000_000
_REMEDY = "Make it again: saliency-bench MODEL... --save"

Outcome = Literal["ok", "worse", "better", "unsure", "not held"]

# A stage is slower only if it takes at least this much longer (the smaller of both): colder caches are no
# regression.
_LEAST_GROWTH_MS = 0.1
_LEAST_GROWTH_PART = 0.01  # of the whole frame
_LEAST_STARTS = 3  # fewer cold starts have no spread to tell noise by
_SLACK_BYTES = 16 * 1024
_SLACK_MAP = 1e-4  # the tolerance of fp32 maps
_GOLDEN_GROWTH = 1.25
_DATA_MOVEMENT = frozenset({"Cast", "Concat", "Identity", "Pad", "Reshape", "Slice", "Transpose"})
"""Operators that compute nothing: one more is a cost without a use. Q/DQ nodes put a layer into int8."""
_NAMES = {FRAME: "the whole frame", CPU: "the processor's work for a frame"}


class _SampleEntry(TypedDict):
    """Some cells of a map: whole numbers in one line."""

    map_hw: tuple[Side, Side]
    levels: str


class _ModelEntry(TypedDict):
    """A model as it stands in the file; numbers that are many are words of one line."""

    engine: str
    repeats: Annotated[int, Meta(ge=1, le=_MAX_REPEATS)]
    ratios: dict[str, str]
    latency_ms: dict[str, float]
    start_up_ratios: str | None
    peak_rss_mb: float | None
    allocated_bytes: dict[str, int]
    macs: int | None
    operators: dict[str, int]
    golden: GoldenDifference | None
    samples: dict[str, _SampleEntry]


class _File(TypedDict):
    """The file."""

    schema: int
    machine: dict[str, Any]
    base_install_mb: float
    models: dict[str, _ModelEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineModel:
    """Results of one model in a baseline; None or empty where they were not measured.

    Attributes:
        repeats: inferences in one run of the reference workload.
        ratios: of each stage to the reference's, (rounds,).
        latency_ms: p50 of each stage, for reading only.
        start_up_ratios: of cold starts to the reference model's, (n,).
        peak_rss_mb: peak memory of a cold start.
        allocated_bytes: peak allocation by stage.
        macs: multiply-accumulates of the graph.
        operators: number of the graph's nodes by operator.
        golden: difference from PyTorch's maps.
        samples: maps of frames of other sizes.
    """

    repeats: int
    ratios: Mapping[str, NDArray[np.float64]]
    latency_ms: Mapping[str, float]
    start_up_ratios: NDArray[np.float64] | None
    peak_rss_mb: float | None
    allocated_bytes: Mapping[str, int]
    macs: int | None
    operators: Mapping[str, int]
    golden: GoldenDifference | None
    samples: Mapping[str, MapSample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A baseline file.

    Attributes:
        path: the file.
        machine: description of the machine it was measured on.
        models: results by the model's name.
        base_install_mb: size of all distributions together.
    """

    path: Path
    machine: Mapping[str, Any]
    models: Mapping[str, BaselineModel]
    base_install_mb: float

    @property
    def repeats(self) -> dict[str, int]:
        """Inferences in one run of the reference, by model: a comparison has to do the same."""
        return {name: model.repeats for name, model in self.models.items()}


def save_baseline(result: BenchResult, path: Path) -> None:
    """Write a run's results as a baseline.

    Raises:
        OutputError: the file cannot be written.
    """
    document = {
        "schema": SCHEMA,
        "machine": dict(result.machine),
        "base_install_mb": round(sum(result.base_install_mb.values()), 1),
        "models": {model.name: _model_json(model) for model in result.models},
    }
    write_json(path, document)


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        ArtifactError: the file is missing or is none.
    """
    remedy = f"{_REMEDY} {path}"
    document = check_schema(
        read_json(path, remedy=remedy), SCHEMA, str(path), "a baseline of saliency-bench", remedy=remedy
    )
    file = to_record(document, _File, str(path), remedy=remedy)
    try:
        return Baseline(
            path=path,
            machine=file["machine"],
            models={name: _parse_model(values) for name, values in file["models"].items()},
            base_install_mb=file["base_install_mb"],
        )
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}. {remedy}") from error


def _model_json(model: ModelResult) -> dict[str, Any]:
    """Those results of a model that later runs are compared with."""
    values = model.to_json()
    reference, start_up, cost = values["reference"], values["start_up"], values["cost"]
    latency = model.cases[0].run.latency
    return {
        "engine": values["engine"],
        "repeats": reference["repeats"],
        "ratios": {stage: _join_numbers(ratios) for stage, ratios in reference["ratios"].items()},
        "latency_ms": {stage: round(of_stage.p50_ms, 3) for stage, of_stage in latency.items()},
        "start_up_ratios": _join_numbers(start_up["ratios"]) if start_up else None,
        "peak_rss_mb": start_up["peak_rss_mb"] if start_up else None,
        "allocated_bytes": values["allocated_bytes"],
        "macs": cost["macs"] if cost else None,
        "operators": cost["operators"] if cost else {},
        "golden": values["golden"],
        "samples": {name: _sample_json(sample) for name, sample in model.samples.items()},
    }


def _sample_json(sample: MapSample) -> dict[str, Any]:
    return {"map_hw": list(sample.map_hw), "levels": _join_numbers(sample.levels)}


def _join_numbers(values: Sequence[float]) -> str:
    """Numbers as one string: a JSON list would take a line for each."""
    return " ".join(str(value) for value in values)


def _split_numbers(line: str) -> NDArray[np.float64]:
    numbers = np.array([float(word) for word in line.split()])
    if not (np.isfinite(numbers) & (numbers > 0)).all() or not len(numbers):
        raise ValueError(f"{line[:40]!r} is no line of numbers above 0")
    return numbers


def _parse_model(values: _ModelEntry) -> BaselineModel:
    start_ups = values["start_up_ratios"]
    return BaselineModel(
        repeats=values["repeats"],
        ratios={stage: _split_numbers(ratios) for stage, ratios in values["ratios"].items()},
        latency_ms=values["latency_ms"],
        start_up_ratios=None if start_ups is None else _split_numbers(start_ups),
        peak_rss_mb=values["peak_rss_mb"],
        allocated_bytes=values["allocated_bytes"],
        macs=values["macs"],
        operators=values["operators"],
        golden=values["golden"],
        samples={name: _parse_sample(sample) for name, sample in values["samples"].items()},
    )


def _parse_sample(values: _SampleEntry) -> MapSample:
    return MapSample(map_hw=values["map_hw"], levels=tuple(int(level) for level in values["levels"].split()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Tolerances of a comparison.

    Attributes:
        tolerance: relative, of times and sizes.
        leak_mb: memory growth in MB per 100 frames.
    """

    tolerance: float = 0.1
    leak_mb: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure compared with the baseline's.

    Attributes:
        model: the model's name, or `install`.
        figure: the figure's name.
        verdict: `worse` is a regression; `unsure` looks like one, but the machine is too busy to tell; `not
            held` means that one of the sides is missing.
        sentence: both values and what is allowed, in words.
    """

    model: str
    figure: str
    verdict: Outcome
    sentence: str


_Comparer: TypeAlias = Callable[[ModelResult, BaselineModel, Limits], Iterator[Comparison]]


def compare(result: BenchResult, baseline: Baseline, limits: Limits) -> list[Comparison]:
    """Compare a run with a baseline, figure by figure."""
    comparisons = [_install(result, baseline, limits)]
    for model in result.models:
        before = baseline.models.get(model.name)
        if before is None:
            sentence = f"{model.name} is not in {baseline.path.name}: {', '.join(baseline.models)} are"
            comparisons.append(_comparison(model, "all", "not held", sentence))
            continue
        for comparer in _COMPARERS:
            comparisons += comparer(model, before, limits)
    return comparisons


def machine_differences(result: BenchResult, baseline: Baseline) -> list[str]:
    """Sentences on how this machine differs in kind from the baseline's, whose ratios need not hold here."""
    found, expected = result.machine, baseline.machine
    return [
        f"{name} is {found.get(name)}, the baseline's was {expected.get(name)}"
        for name in MACHINE_KIND
        if found.get(name) != expected.get(name)
    ]


def _times(model: ModelResult, before: BaselineModel, limits: Limits) -> Iterator[Comparison]:
    if model.reference is None:
        return
    for stage, ratios in model.reference.ratios.items():
        if stage not in before.ratios:
            continue
        now_ms = model.cases[0].run.latency[stage].p50_ms
        change = change_interval(before.ratios[stage], ratios)
        name = _NAMES.get(stage, stage)
        growth_ms = now_ms * (1 - 1 / change.estimate)
        verdict = _time_verdict(change, limits.tolerance)
        if verdict != "better" and growth_ms < _least_growth_ms(model):
            verdict = "ok"
        yield _comparison(
            model, f"time of {name}", verdict, f"{name} takes {_change_text(change, limits)}; {now_ms:.2f} ms"
        )


def _least_growth_ms(model: ModelResult) -> float:
    frame_ms = model.cases[0].run.latency[FRAME].p50_ms
    return min(_LEAST_GROWTH_MS, _LEAST_GROWTH_PART * frame_ms)


def _start_up(model: ModelResult, before: BaselineModel, limits: Limits) -> Iterator[Comparison]:
    if model.start_up is None or before.start_up_ratios is None:
        return
    change = change_interval(before.start_up_ratios, model.start_up.ratios)
    sentence = f"a cold start takes {_change_text(change, limits)}; {model.start_up.first_map_s:.2f} s"
    verdict = _time_verdict(change, limits.tolerance)
    few = min(len(before.start_up_ratios), len(model.start_up.ratios)) < _LEAST_STARTS
    yield _comparison(model, "start-up", "unsure" if few and verdict == "worse" else verdict, sentence)


def _growth(model: ModelResult, _before: BaselineModel, limits: Limits) -> Iterator[Comparison]:
    growth = model.cases[0].run.growth_mb
    if growth is None:
        return
    text = f"{growth.estimate:.2f} MB per 100 frames [{growth.low:.2f}, {growth.high:.2f}]"
    verdict: Outcome = "worse" if growth.low > limits.leak_mb else "ok"
    yield _comparison(model, "memory growth", verdict, f"memory grows by {text}; allowed {limits.leak_mb}")


def _peak_memory(model: ModelResult, before: BaselineModel, limits: Limits) -> Iterator[Comparison]:
    now = model.start_up.peak_rss_mb if model.start_up else None
    if now is None or before.peak_rss_mb is None:
        return
    sentence = _size_text("a cold start's peak memory is", before.peak_rss_mb, now, "MB", limits)
    yield _comparison(model, "peak memory", _size_verdict(before.peak_rss_mb, now, limits), sentence)


def _allocations(model: ModelResult, before: BaselineModel, limits: Limits) -> Iterator[Comparison]:
    for stage, now in model.allocated_bytes.items():
        then = before.allocated_bytes.get(stage)
        if then is None:
            continue
        verdict = "ok" if now <= then + _SLACK_BYTES else _size_verdict(then, now, limits)
        sentence = _size_text(f"{stage} allocates", then / 1024, now / 1024, "KiB a frame", limits)
        yield _comparison(model, f"memory of {stage}", verdict, sentence)


def _graph(model: ModelResult, before: BaselineModel, _limits: Limits) -> Iterator[Comparison]:
    if model.cost is None or before.macs is None:
        return
    now, then = model.cost.operators, before.operators
    grown = [
        f"{name} nodes: {now[name]}, baseline {then.get(name, 0)}"
        for name in sorted(_DATA_MOVEMENT & set(now))
        if now[name] > then.get(name, 0)
    ]
    if model.cost.macs > before.macs:
        grown.append(f"{model.cost.macs / 1e9:.2f} GMAC, the baseline {before.macs / 1e9:.2f}")
    sentence = (
        f"the graph has {'; '.join(grown)}" if grown else f"the graph has {model.cost.macs / 1e9:.2f} GMAC"
    )
    yield _comparison(model, "graph", "worse" if grown else "ok", sentence)


def _golden_maps(model: ModelResult, before: BaselineModel, _limits: Limits) -> Iterator[Comparison]:
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
    yield _comparison(model, "golden maps", "worse" if worse else "ok", sentence)


def _map_samples(model: ModelResult, before: BaselineModel, _limits: Limits) -> Iterator[Comparison]:
    allowed = 10 * _SLACK_MAP + (before.golden.max_abs if before.golden else 0.0)
    for name, now in model.samples.items():
        then = before.samples.get(name)
        if then is not None:
            yield _map_sample(model, name, then, now, allowed)


def _map_sample(model: ModelResult, name: str, then: MapSample, now: MapSample, allowed: float) -> Comparison:
    figure = f"map of a {name} picture"
    if then.map_hw != now.map_hw:
        shapes = " cells, the baseline's was ".join(
            f"{height}x{width}" for height, width in (now.map_hw, then.map_hw)
        )
        return _comparison(model, figure, "worse", f"the {figure} has {shapes}: look at fit and crop")
    if len(then.levels) != len(now.levels):
        return _comparison(
            model, figure, "not held", f"the baseline has {len(then.levels)} cells of the {figure}"
        )
    difference = now.largest_difference(then)
    verdict: Outcome = "ok" if difference <= allowed else "worse"
    where = "" if verdict == "ok" else ": where golden maps are right, look at fit and crop"
    text = f"the {figure} differs from the baseline's by up to {difference:.2g}, allowed {allowed:.2g}{where}"
    return _comparison(model, figure, verdict, text)


def _install(result: BenchResult, baseline: Baseline, limits: Limits) -> Comparison:
    now, then = sum(result.base_install_mb.values()), baseline.base_install_mb
    sentence = _size_text("a base install weighs", then, now, "MB", limits)
    return Comparison(
        model="install", figure="weight", verdict=_size_verdict(then, now, limits), sentence=sentence
    )


def _comparison(model: ModelResult, figure: str, verdict: Outcome, sentence: str) -> Comparison:
    return Comparison(model=model.name, figure=figure, verdict=verdict, sentence=sentence)


def _time_verdict(change: Interval, tolerance: float) -> Outcome:
    if change.low > 1 + tolerance:
        return "worse"
    if change.estimate > 1 + tolerance:
        return "unsure"
    return "better" if change.high < 1 / (1 + tolerance) else "ok"


def _size_verdict(then: float, now: float, limits: Limits) -> Outcome:
    return "worse" if now > then * (1 + limits.tolerance) else "ok"


def _change_text(change: Interval, limits: Limits) -> str:
    """Such as `12% longer [9%, 15%] than in the baseline, allowed 10%`."""
    low, estimate, high = (100 * (value - 1) for value in (change.low, change.estimate, change.high))
    word = "longer" if estimate >= 0 else "less"
    interval = f"[{low:+.0f}%, {high:+.0f}%]"
    return (
        f"{abs(estimate):.0f}% {word} {interval} than in the baseline, allowed {100 * limits.tolerance:.0f}%"
    )


def _size_text(subject: str, then: float, now: float, unit: str, limits: Limits) -> str:
    return f"{subject} {now:.1f} {unit}, the baseline {then:.1f}, allowed {100 * limits.tolerance:.0f}% more"


_COMPARERS: tuple[_Comparer, ...] = (
    _times,
    _start_up,
    _growth,
    _peak_memory,
    _allocations,
    _graph,
    _golden_maps,
    _map_samples,
)
