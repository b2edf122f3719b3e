"""The search for the cheapest set of precisions that passes the gate, and does not flicker on a clip."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calib.frames import shipped_clip
from ...calib.ranges import ActivationRanges
from ..frames import FrameSet
from ..parity import Parity
from ..temporal import ClipMaps, TemporalParity
from .decisions import by_harm, decisions
from .gate import Gate
from .layers import conv_layers, total_macs
from .options import SearchBudget
from .recipe import Recipe
from .results import Int8Result, ParetoPoint
from .runtimes import RuntimeGate, RuntimeVerdict, pass_in_runtimes
from .search_cache import SearchCache
from .start import Int8Source, Starter
from .trembling import trembling_alone
from .trials import Trials

if TYPE_CHECKING:
    import onnx


_EXTRA_SETS = 1
"""Sets beyond the cheapest one that are measured for the Pareto front."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Search:
    """What a search gives.

    Attributes:
        result: what was found out.
        model: the int8 graph; None where no set passes the gate.
        rivals: the graphs of the other sets on the Pareto front, by their place in `result.pareto`.
        measured: the same with the body's rounding written out, as the gate measured it; None as above.
        temporal: how it moves on the shipped clip, beside the fp32 graph; None as above.
    """

    result: Int8Result
    model: onnx.ModelProto | None
    rivals: Mapping[int, onnx.ModelProto]
    measured: onnx.ModelProto | None
    temporal: TemporalParity | None


def search_int8(
    source: Int8Source, gate: Gate, probes: FrameSet, budget: SearchBudget, cache: SearchCache
) -> Int8Search:
    """Measure each layer alone, repair what costs no speed, then keep as few in float as gate and clip need.

    Args:
        source: the graphs.
        gate: what the maps must keep.
        probes: frames that decisions are taken on; they are none of the gate's.
        budget: bounds of what is measured.
        cache: of an earlier search of the same content.

    Raises:
        ParityError: a map holds NaN.
    """
    start_s = time.monotonic()
    probes = FrameSet(names=probes.names[: budget.frames], pixels=probes.pixels[: budget.frames])
    layers = conv_layers(source.fp32)
    allowed = [layer for layer in layers if layer.refused is None]
    start = Starter(source, gate, allowed, probes, cache).start()
    trials = Trials(start, total_macs(source.fp32), gate, cache, budget.sets)
    cheapest = _cheapest(trials, start.recipe, start.broken)
    clip_maps = partial(ClipMaps.of, shipped_clip(), source.fp32, gate.contract)
    chosen, temporal = steadied(trials, cheapest, clip_maps, cache)
    against_flicker = frozenset(chosen.kept_nodes).difference(cheapest.kept_nodes)
    verdicts: tuple[RuntimeVerdict, ...] = ()
    for_runtimes: Mapping[str, str] = {}
    if chosen.passed:
        chosen, verdicts, for_runtimes = pass_in_runtimes(trials, chosen, RuntimeGate(gate, source.fp32))
        if for_runtimes:
            temporal = clip_maps().compared({"int8": trials.graph(frozenset(chosen.kept_nodes))})
    failed = next((verdict for verdict in verdicts if verdict.failures), None)
    _widen(trials, start.recipe, chosen)
    kept = frozenset(chosen.kept_nodes)
    result = Int8Result(
        limits=gate.limits,
        figures=chosen.figures,
        int8_macs_share=chosen.int8_macs_share,
        layers=decisions(layers, start.recipe, gate.limits, kept, against_flicker, for_runtimes),
        pareto=tuple(trials.points),
        taken=trials.points.index(chosen) if chosen.passed and failed is None else None,
        repairs=start.repairs,
        ranges=_ranges_json(source.ranges),
        parity=Parity(precision="int8", frames=trials.agreements(kept), rounded=True),
        passes=len(trials.points),
        seconds=time.monotonic() - start_s,
        runtimes={verdict.runtime: verdict.to_json() for verdict in verdicts},
        refusal="" if failed is None else f"{failed.runtime}: {'; '.join(failed.failures)}",
    )
    if not result.passed:
        return Int8Search(result=result, model=None, rivals={}, measured=None, temporal=None)
    rivals = {
        place: trials.model(frozenset(result.pareto[place].kept_nodes))
        for place in result.front()
        if place != result.taken
    }
    return Int8Search(
        result=result,
        model=trials.model(kept),
        rivals=rivals,
        measured=trials.graph(kept),
        temporal=temporal,
    )


def _cheapest(trials: Trials, recipe: Recipe, hurting: Set[str]) -> ParetoPoint:
    """Keep the layer that hurts most until the gate is kept, then give back those that were not needed.

    Returns:
        The set that passes with the most multiplications in int8, or the best one where none passes.
    """
    kept = list(hurting)
    point = trials.attempt(kept, "all that do not break the gate alone" if kept else "all layers")
    for name in by_harm(recipe, hurting):
        if point.passed or not trials.left:
            break
        kept.append(name)
        point = trials.attempt(kept, f"{name} kept")
    added = [name for name in kept if name not in hurting][:-1]
    if point.passed:
        macs = {layer.node: layer.macs for layer in recipe.layers}
        for name in sorted(added, key=lambda name: -macs[name]):
            if trials.left and (tried := trials.attempt(set(kept) - {name}, f"{name} given back")).passed:
                kept.remove(name)
                point = tried
        return point
    return min(trials.points, key=lambda tried: tried.figures.kldiv_mean)


def _widen(trials: Trials, recipe: Recipe, chosen: ParetoPoint) -> None:
    """Try a few dearer sets, so that the front shows what more accuracy would cost."""
    kept = list(chosen.kept_nodes)
    for name in by_harm(recipe, frozenset(kept))[: min(_EXTRA_SETS, trials.left)]:
        kept.append(name)
        trials.attempt(kept, f"for comparison: {name} kept")


def _ranges_json(ranges: ActivationRanges) -> dict[str, Any]:
    key = ranges.key
    return {
        "origin": Path(ranges.origin).name,
        "frames": ranges.frames,
        "model_sha256": key.model_sha256,
        "method": key.method,
    }


MOST_STEADYING = 4
"""Sets that are tried against shimmer, at most."""
_MARGIN = 0.9
"""What a set may tremble by the forecast, as a part of what the limit allows: it is a forecast."""


def steadied(
    trials: Trials, cheapest: ParetoPoint, clip_maps: Callable[[], ClipMaps], cache: SearchCache
) -> tuple[ParetoPoint, TemporalParity | None]:
    """Keep further layers in float while the maps of a clip flicker more than they may.

    Which ones, follows from how much each layer alone trembles: rounding errors of different layers hardly
    know of each other, so their squares add up, and those of all layers to the square of the flicker.

    Args:
        trials: what the gate says of sets.
        cheapest: the set that the gate let through.
        clip_maps: gives the clip; called where the gate let a set through.
        cache: of this search.

    Returns:
        The first set that passes the gate and is steady, and how it moves; where none of `MOST_STEADYING` is,
        the set as it was, whose shimmer is then reported.

    Raises:
        ParityError: a map holds NaN.
    """
    if not cheapest.passed:
        return cheapest, None
    clip = clip_maps()
    movement = moved = _movement(trials, cheapest, clip)
    if not movement.shimmers("int8"):
        return cheapest, movement
    trembling = trembling_alone(trials.start, clip.contract, clip.frames.pixels, cache)
    given = kept = frozenset(cheapest.kept_nodes)
    for _ in range(min(MOST_STEADYING, trials.left)):
        most = _MARGIN * moved.allowed_share("int8") * trembling.of_others(kept)
        kept = trembling.cheapest(given, most)
        point = trials.attempt(kept, f"{', '.join(sorted(kept - given))} kept against shimmer")
        if not point.passed:
            break
        moved = _movement(trials, point, clip)
        if not moved.shimmers("int8"):
            return point, moved
    return cheapest, movement


def _movement(trials: Trials, point: ParetoPoint, clip: ClipMaps) -> TemporalParity:
    return clip.compared({"int8": trials.graph(frozenset(point.kept_nodes))})
