"""The measurement of `saliency-bench`: from models to results, first each by itself, then interleaved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.backend import LoadOptions, Model, installed_version
from ..backends.onnxruntime_backend import OnnxRuntimeBackend
from ..backends.openvino_backend import OpenVinoBackend, OpenVinoModel
from ..backends.select import load_model
from ..bundle import Bundle
from ..contract import Contract
from ..errors import UsageError
from ..opencv import single_threaded
from ..parity import GoldenFrames
from .accuracy import GoldenDifference, MapSample, compare_with_golden, sample_maps
from .footprint import ModelSpec, StartUp, base_install_mb, measure_start_up
from .host import describe_host
from .roofline import GraphCost, Roofline, graph_cost, measure_roofline
from .statistics import Interval, median_interval
from .timing import (
    CPU,
    FRAME,
    REFERENCE_MODEL,
    InterleavedPlan,
    IsolatedPlan,
    IsolatedRun,
    ModelWorkload,
    ReferenceWorkload,
    Workload,
    peak_allocations,
    run_interleaved,
    run_isolated,
    synthetic_frame,
    time_stages,
)

_MOST_REPEATS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """Options of `saliency-bench`.

    Attributes:
        models: the models to measure.
        sizes_hw: heights and widths of the frames before the fit, in pixels.
        batches: frames in one inference; empty for each model's smallest.
        isolated: length of each model's isolated run.
        interleaved: length of interleaved runs.
        render: whether the overlay is drawn too.
        start_ups: cold starts of each model; 0 for none.
        with_reference: whether ratios for a baseline are wanted; models are not compared with each other
            then.
        repeats: inferences in one run of the reference, by model, from a baseline; by default as many as take
            as long as the model.
        with_roofline: whether the device's limits are wanted.
        peak_tops: peak rate in 10^12 operations per second; None: measured.
        bandwidth_gb_s: bandwidth in 10^9 bytes per second; None: measured.
    """

    models: Sequence[ModelSpec]
    sizes_hw: Sequence[tuple[int, int]] = ((720, 1280),)
    batches: Sequence[int] = ()
    isolated: IsolatedPlan = field(default_factory=IsolatedPlan)
    interleaved: InterleavedPlan = field(default_factory=InterleavedPlan)
    render: bool = False
    start_ups: int = 5
    with_reference: bool = False
    repeats: Mapping[str, int] = field(default_factory=dict)
    with_roofline: bool = True
    peak_tops: float | None = None
    bandwidth_gb_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An isolated run of a model at one frame size and one batch.

    Attributes:
        size_hw: height and width of the frames before the fit, in pixels.
        batch: frames in one inference.
        run: its measurements.
    """

    size_hw: tuple[int, int]
    batch: int
    run: IsolatedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRatios:
    """Time of each stage in units of the reference workload, interleaved with it.

    Attributes:
        repeats: inferences in one run of the reference workload.
        ratios: by stage, (rounds,).
    """

    repeats: int
    ratios: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """Measurements of one model.

    Attributes:
        name: network, precision and size, the same on every machine.
        engine: description of the backend that ran it.
        contract: the model's contract.
        cases: one for each frame size and batch; baselines hold the first.
        allocated_bytes: bytes that each stage holds at its peak.
        cost: work of the graph; None without an ONNX file.
        golden: difference from PyTorch's maps; None without golden frames.
        samples: maps of frames that are not of the network's size.
        start_up: cold starts; None where none were wanted.
        reference: ratios to the reference; None where no baseline was wanted.
    """

    name: str
    engine: str
    contract: Contract
    cases: Sequence[Case]
    allocated_bytes: Mapping[str, int]
    cost: GraphCost | None
    golden: GoldenDifference | None
    samples: Mapping[str, MapSample]
    start_up: StartUp | None
    reference: ReferenceRatios | None

    def to_json(self) -> dict[str, Any]:
        """All measurements as plain JSON values."""
        return {
            "name": self.name,
            "engine": self.engine,
            "contract": asdict(self.contract),
            "cases": [_case_json(case) for case in self.cases],
            "allocated_bytes": dict(self.allocated_bytes),
            "cost": asdict(self.cost) if self.cost else None,
            "golden": asdict(self.golden) if self.golden else None,
            "samples": {name: asdict(sample) for name, sample in self.samples.items()},
            "start_up": _start_up_json(self.start_up) if self.start_up else None,
            "reference": _reference_json(self.reference) if self.reference else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """Measurements of all models, and of the machine.

    Attributes:
        models: in the order given.
        against_first: time of a frame in units of the first model's, by name, interleaved.
        roofline: limits of the device; None where they were not wanted.
        base_install_mb: size by distribution.
        machine: description of the machine.
    """

    models: Sequence[ModelResult]
    against_first: Mapping[str, Interval]
    roofline: Roofline | None
    base_install_mb: Mapping[str, float]
    machine: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """All measurements as plain JSON values."""
        return {
            "schema": 1,
            "machine": dict(self.machine),
            "models": [model.to_json() for model in self.models],
            "against_first": {name: ratio.to_json() for name, ratio in self.against_first.items()},
            "roofline": asdict(self.roofline) if self.roofline else None,
            "base_install_mb": {name: round(size, 2) for name, size in self.base_install_mb.items()},
        }


def _case_json(case: Case) -> dict[str, Any]:
    run = case.run
    return {
        "size_hw": case.size_hw,
        "batch": case.batch,
        "latency": {stage: asdict(latency) for stage, latency in run.latency.items()},
        "frames": run.frames,
        "warm_up_frames": run.warm_up_frames,
        "is_steady": run.is_steady,
        "frames_per_s": run.frames_per_s,
        "growth_mb_per_100_frames": run.growth_mb.to_json() if run.growth_mb else None,
        "board": dict(run.board.means),
        "joule_per_frame": run.joule_per_frame(),
    }


def _start_up_json(start_up: StartUp) -> dict[str, Any]:
    return {
        "first_map_s": start_up.first_map_s,
        "load_s": start_up.load_s,
        "peak_rss_mb": start_up.peak_rss_mb,
        "ratios": _rounded(start_up.ratios),
    }


def _reference_json(reference: ReferenceRatios) -> dict[str, Any]:
    return {
        "repeats": reference.repeats,
        "ratios": {stage: _rounded(ratios) for stage, ratios in reference.ratios.items()},
    }


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def measure(plan: BenchPlan, say: Callable[[str], None]) -> BenchResult:
    """Measure each model by itself; then all interleaved, or each interleaved with the reference.

    Args:
        plan: what to measure, and how long.
        say: takes a line of progress.

    Raises:
        SaliencyError: a model cannot be loaded or run, or cannot take what is asked for.
    """
    models = _numbered([_measure_model(spec, plan, say) for spec in plan.models])
    is_comparison = len(models) > 1 and not plan.with_reference
    if is_comparison:
        say("all models, interleaved")
    roofline = None
    if plan.with_roofline:
        say("the device's limits")
        roofline = measure_roofline(
            plan.models[0].threads, peak_tops=plan.peak_tops, bandwidth_gb_s=plan.bandwidth_gb_s
        )
    return BenchResult(
        models=models,
        against_first=_compare([model.name for model in models], plan) if is_comparison else {},
        roofline=roofline,
        base_install_mb=base_install_mb(),
        machine=describe_host(plan.models[0].threads),
    )


def model_name(contract: Contract) -> str:
    """Name of a model by its contract, such as `deep_half fp32 240x320`."""
    height, width = contract.size_hw
    return f"{contract.network} {contract.precision} {height}x{width}"


def _measure_model(spec: ModelSpec, plan: BenchPlan, say: Callable[[str], None]) -> ModelResult:
    golden = _golden_frames(spec)
    with closing(_load(spec)) as engine:
        name = model_name(engine.contract)
        say(f"{name}, {engine.description}: isolated")
        batches = plan.batches or (engine.contract.batch[0],)
        _check_batches(batches, engine.contract)
        cases = [
            _measure_case(engine, size_hw, batch, plan) for size_hw in plan.sizes_hw for batch in batches
        ]
        if plan.with_reference:
            say(f"{name}: interleaved with the reference")
        workload = _workload(engine, plan)
        result = ModelResult(
            name=name,
            engine=engine.description,
            contract=engine.contract,
            cases=cases,
            allocated_bytes=peak_allocations(workload.stages),
            cost=_graph_cost(spec, engine.contract),
            golden=compare_with_golden(engine, golden) if golden else None,
            samples=sample_maps(engine, golden),
            start_up=None,
            reference=_reference_ratios(workload, name, spec, plan) if plan.with_reference else None,
        )
    if not plan.start_ups:
        return result
    say(f"{name}: {plan.start_ups} cold starts")
    return replace(result, start_up=measure_start_up(spec, plan.start_ups))


def _load(spec: ModelSpec) -> Model:
    options = LoadOptions(backend=spec.backend, threads=spec.threads, must_pass=False)
    return load_model(spec.path, spec.precision, options)


def _check_batches(batches: Sequence[int], contract: Contract) -> None:
    smallest, largest = contract.batch
    for batch in batches:
        if not smallest <= batch <= largest:
            raise UsageError(
                f"--batch {batch}: {model_name(contract)} takes {smallest} to {largest} frames at once. "
                "Export it for more: saliency-export --batch 1-8"
            )


def _measure_case(engine: Model, size_hw: tuple[int, int], batch: int, plan: BenchPlan) -> Case:
    workload = ModelWorkload(engine, synthetic_frame(size_hw), batch, render=plan.render)
    return Case(size_hw=size_hw, batch=batch, run=run_isolated(workload, plan.isolated, batch))


def _workload(engine: Model, plan: BenchPlan) -> ModelWorkload:
    """The workload that baselines hold: the first size, the first batch."""
    batch = plan.batches[0] if plan.batches else engine.contract.batch[0]
    return ModelWorkload(engine, synthetic_frame(plan.sizes_hw[0]), batch, render=plan.render)


def _reference_ratios(
    workload: ModelWorkload, name: str, spec: ModelSpec, plan: BenchPlan
) -> ReferenceRatios:
    # In the same backend where that runs it: other threads are disturbed in other ways.
    backend = OpenVinoBackend.name if isinstance(workload.engine, OpenVinoModel) else OnnxRuntimeBackend.name
    backend = backend if installed_version(backend) else "auto"
    with closing(
        load_model(REFERENCE_MODEL, None, LoadOptions(backend=backend, threads=spec.threads))
    ) as engine:
        repeats = plan.repeats.get(name) or _matching_repeats(workload, ReferenceWorkload(engine))
        workloads: dict[str, Workload] = {"model": workload, "reference": ReferenceWorkload(engine, repeats)}
        series = run_interleaved(workloads, plan.interleaved)
    # What the backend does is divided by the convolutions, what OpenCV does by the resize.
    divisors = {FRAME: FRAME, CPU: CPU, "infer": "convolutions"}
    ratios = {
        stage: durations_s / series["reference"][divisors.get(stage, "resize")]
        for stage, durations_s in series["model"].items()
    }
    return ReferenceRatios(repeats=repeats, ratios=ratios)


def _matching_repeats(workload: ModelWorkload, reference: ReferenceWorkload) -> int:
    """Inferences of the reference that take as long as the model's frame: what disturbs one disturbs both."""
    with single_threaded():
        model_s, reference_s = (
            float(np.median([time_stages(each.stages)[FRAME] for _ in range(5)]))
            for each in (workload, reference)
        )
    return min(max(1, round(model_s / reference_s)), _MOST_REPEATS)


def _numbered(models: Sequence[ModelResult]) -> list[ModelResult]:
    """Results with unique names: `deep_half fp32 240x320`, `deep_half fp32 240x320 #2`."""
    seen: Counter[str] = Counter()
    numbered = []
    for model in models:
        seen[model.name] += 1
        count = seen[model.name]
        numbered.append(replace(model, name=f"{model.name} #{count}") if count > 1 else model)
    return numbered


def _golden_frames(spec: ModelSpec) -> GoldenFrames | None:
    if not is_bundle(spec.path):
        return None
    with Bundle.open(spec.path) as bundle:
        return GoldenFrames.read(bundle.golden_file())


def _graph_cost(spec: ModelSpec, contract: Contract) -> GraphCost | None:
    if spec.path.suffix == ".onnx":
        return graph_cost(spec.path, contract)
    if not is_bundle(spec.path):
        return None
    with Bundle.open(spec.path) as bundle:
        return graph_cost(bundle.model(contract.precision), contract)


def is_bundle(path: Path) -> bool:
    """Whether a path names a bundle, a folder or a .zip file, and not a model file."""
    return path.is_dir() or path.suffix == ".zip"


def _compare(names: Sequence[str], plan: BenchPlan) -> dict[str, Interval]:
    """Time of each model's frame in units of the first one's, all models interleaved."""
    with ExitStack() as stack:
        engines = [stack.enter_context(closing(_load(spec))) for spec in plan.models]
        workloads = {name: _workload(engine, plan) for name, engine in zip(names, engines, strict=True)}
        series = run_interleaved(workloads, plan.interleaved)
    first = series[names[0]][FRAME]
    return {name: median_interval(series[name][FRAME] / first) for name in names[1:]}
