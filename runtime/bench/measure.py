"""The whole job of `saliency-bench`: from models to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..backends.backend import LoadOptions, Model
from ..backends.select import load_model
from ..bundle import Bundle
from ..contract import Contract
from ..errors import UsageError
from ..parity import GoldenFrames
from ..video.opencv_setup import single_threaded
from .accuracy import hold_against_golden, sample_maps
from .alone import AlonePlan, run_alone
from .figures import AgainstReference, BenchResult, Case, ModelFigures
from .footprint import base_install_mb
from .graph_cost import GraphCost, graph_cost
from .host import host
from .loops import CPU, FRAME, REFERENCE_MODEL, ModelLoop, ReferenceLoop, allocated, timed
from .pictures import synthetic_picture
from .roofline import measure_roofline
from .rounds import RoundPlan, Series, take_turns
from .startup import ModelChoice, measure_start_up
from .statistics import Interval, median_interval

_MOST_REPEATS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What `saliency-bench` is asked for.

    Attributes:
        models: to measure.
        sizes_hw: of the frames before the fit, in pixels.
        batches: frames at once; empty for each model's smallest.
        alone: how long each model runs alone.
        rounds: how long loops take turns.
        render: whether an overlay is drawn too.
        start_ups: cold processes for each model; 0 for none.
        with_reference: whether figures are wanted that a baseline can hold; models are not compared then.
        repeats: of the reference, by model, as a baseline has it; else as many as take as long as the model.
        with_roofline: whether the device's limits are wanted.
        peak_tops: operations a second, in 10^12; None: measured.
        bandwidth_gb_s: in 10^9 bytes a second; None: measured.
    """

    models: Sequence[ModelChoice]
    sizes_hw: Sequence[tuple[int, int]] = ((720, 1280),)
    batches: Sequence[int] = ()
    alone: AlonePlan = field(default_factory=AlonePlan)
    rounds: RoundPlan = field(default_factory=RoundPlan)
    render: bool = False
    start_ups: int = 5
    with_reference: bool = False
    repeats: Mapping[str, int] = field(default_factory=dict)
    with_roofline: bool = True
    peak_tops: float | None = None
    bandwidth_gb_s: float | None = None


def measure(plan: BenchPlan, say: Callable[[str], None]) -> BenchResult:
    """Measure all models one after another; then in turn with each other, or each with the reference.

    Args:
        plan: what is asked for.
        say: takes a line about what is being done.

    Raises:
        SaliencyError: a model cannot be loaded or run, or cannot take what is asked for.
    """
    models = _numbered([_measure_model(choice, plan, say) for choice in plan.models])
    in_turn = len(models) > 1 and not plan.with_reference
    if in_turn:
        say("all models in turn")
    roofline = None
    if plan.with_roofline:
        say("the device's limits")
        roofline = measure_roofline(
            plan.models[0].threads, peak_tops=plan.peak_tops, bandwidth_gb_s=plan.bandwidth_gb_s
        )
    return BenchResult(
        models=models,
        against_first=_compare([model.name for model in models], plan) if in_turn else {},
        roofline=roofline,
        base_install_mb=base_install_mb(),
        machine=host(plan.models[0].threads),
    )


def name_of(contract: Contract) -> str:
    """Name a model by what it is, such as `deep_half fp32 240x320`."""
    height, width = contract.size_hw
    return f"{contract.network} {contract.precision} {height}x{width}"


def _measure_model(choice: ModelChoice, plan: BenchPlan, say: Callable[[str], None]) -> ModelFigures:
    golden = _golden_frames(choice)
    with closing(_load(choice)) as engine:
        name = name_of(engine.contract)
        say(f"{name}, {engine.description}: alone")
        batches = plan.batches or (engine.contract.batch[0],)
        _check_batches(batches, engine.contract)
        cases = [
            _measure_case(engine, size_hw, batch, plan) for size_hw in plan.sizes_hw for batch in batches
        ]
        if plan.with_reference:
            say(f"{name}: in turn with the reference")
        loop = _loop(engine, plan)
        figures = ModelFigures(
            name=name,
            engine=engine.description,
            contract=engine.contract,
            cases=cases,
            allocated_bytes=allocated(loop.stages),
            cost=_cost(choice, engine.contract),
            golden=hold_against_golden(engine, golden) if golden else None,
            samples=sample_maps(engine, golden),
            start_up=None,
            reference=_against_reference(loop, name, choice, plan) if plan.with_reference else None,
        )
    if not plan.start_ups:
        return figures
    say(f"{name}: {plan.start_ups} cold starts")
    return _with_start_up(figures, choice, plan)


def _load(choice: ModelChoice) -> Model:
    return load_model(choice.path, choice.precision, LoadOptions(threads=choice.threads))


def _check_batches(batches: Sequence[int], contract: Contract) -> None:
    smallest, largest = contract.batch
    for batch in batches:
        if not smallest <= batch <= largest:
            raise UsageError(
                f"--batch {batch}: {name_of(contract)} takes {smallest} to {largest} frames at once. "
                "Export it for more: saliency-export --batch 1-8"
            )


def _measure_case(engine: Model, size_hw: tuple[int, int], batch: int, plan: BenchPlan) -> Case:
    loop = ModelLoop(engine, synthetic_picture(size_hw), batch, render=plan.render)
    return Case(size_hw=size_hw, batch=batch, alone=run_alone(loop, plan.alone, batch))


def _loop(engine: Model, plan: BenchPlan) -> ModelLoop:
    """Make the loop that baselines hold: the first size, the first batch."""
    batch = plan.batches[0] if plan.batches else engine.contract.batch[0]
    return ModelLoop(engine, synthetic_picture(plan.sizes_hw[0]), batch, render=plan.render)


def _against_reference(loop: ModelLoop, name: str, choice: ModelChoice, plan: BenchPlan) -> AgainstReference:
    with closing(load_model(REFERENCE_MODEL, None, LoadOptions(threads=choice.threads))) as engine:
        repeats = plan.repeats.get(name) or _repeats_for(loop, ReferenceLoop(engine))
        series = take_turns({"model": loop, "reference": ReferenceLoop(engine, repeats)}, plan.rounds)
    return AgainstReference(repeats=repeats, ratios=_ratios(series["model"], series["reference"]))


def _repeats_for(loop: ModelLoop, reference: ReferenceLoop) -> int:
    """Find how often the reference runs while the model does a frame: what disturbs one disturbs both."""
    with single_threaded():
        model_s, reference_s = (
            float(np.median([timed(each.stages)[FRAME] for _ in range(5)])) for each in (loop, reference)
        )
    return min(max(1, round(model_s / reference_s)), _MOST_REPEATS)


def _ratios(model: Series, reference: Series) -> Series:
    """Divide what the backend does by the convolutions, and what OpenCV does by the resize."""
    divisors = {FRAME: FRAME, CPU: CPU, "infer": "convolutions"}
    return {
        stage: durations_s / reference[divisors.get(stage, "resize")] for stage, durations_s in model.items()
    }


def _with_start_up(figures: ModelFigures, choice: ModelChoice, plan: BenchPlan) -> ModelFigures:
    return replace(figures, start_up=measure_start_up(choice, plan.start_ups))


def _numbered(models: Sequence[ModelFigures]) -> list[ModelFigures]:
    """Tell models of one name apart: `deep_half fp32 240x320`, `deep_half fp32 240x320 #2`."""
    seen: Counter[str] = Counter()
    numbered = []
    for model in models:
        seen[model.name] += 1
        count = seen[model.name]
        numbered.append(replace(model, name=f"{model.name} #{count}") if count > 1 else model)
    return numbered


def _golden_frames(choice: ModelChoice) -> GoldenFrames | None:
    if not _is_bundle(choice.path):
        return None
    with Bundle.open(choice.path) as bundle:
        return GoldenFrames.read(bundle.golden_file())


def _cost(choice: ModelChoice, contract: Contract) -> GraphCost | None:
    if choice.path.suffix == ".onnx":
        return graph_cost(choice.path, contract)
    if not _is_bundle(choice.path):
        return None
    with Bundle.open(choice.path) as bundle:
        return graph_cost(bundle.model(contract.precision), contract)


def _is_bundle(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".zip"


def _compare(names: Sequence[str], plan: BenchPlan) -> dict[str, Interval]:
    """Let all models take turns, and give each one's frame in units of the first one's."""
    with ExitStack() as stack:
        engines = [stack.enter_context(closing(_load(choice))) for choice in plan.models]
        loops = {name: _loop(engine, plan) for name, engine in zip(names, engines, strict=True)}
        series = take_turns(loops, plan.rounds)
    first = series[names[0]][FRAME]
    return {name: median_interval(series[name][FRAME] / first) for name in names[1:]}
