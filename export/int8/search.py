"""The search for the cheapest set of precisions that passes the gate."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calib.frames import shipped_clip
from ...calib.ranges import ActivationRanges
from ..frames import FrameSet
from ..parity import Parity
from ..temporal import ClipMaps, TemporalParity
from .decisions import by_harm, decisions
from .gate import Gate
from .layers import ConvLayer, conv_layers, total_macs
from .options import SearchBudget
from .quantize import quantize
from .recipe import Recipe
from .results import Int8Result, ParetoPoint
from .search_cache import SearchCache
from .start import Int8Source, Start, equalised_start, plain_start
from .steadiness import steadied
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
        measured: the same with the body's rounding written out, as the gate measured it; None as above.
        temporal: how it moves on the shipped clip, beside the fp32 graph; None as above.
    """

    result: Int8Result
    model: onnx.ModelProto | None
    measured: onnx.ModelProto | None
    temporal: TemporalParity | None


def search_int8(
    source: Int8Source, gate: Gate, probes: FrameSet, budget: SearchBudget, cache: SearchCache
) -> Int8Search:
    """Measure each layer alone, then keep as few in float as the gate and a clip need.

    Where layers have to stay, the same is tried with channels equalised, and the cheaper set is taken.

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
    plain = plain_start(source, gate, allowed, probes, cache)
    clip_maps = functools.cache(lambda: ClipMaps.of(shipped_clip(), source.fp32, gate.contract))
    searches = [_search(plain, gate, clip_maps, cache, budget.sets)]
    left = searches[0].trials.left
    if left and not searches[0].is_clean:
        searches.append(_search(equalised_start(plain, gate, probes, cache), gate, clip_maps, cache, left))
    best = max(searches, key=lambda search: search.worth)
    _widen(best.trials, best.start.recipe, best.chosen)
    points = [point for search in searches for point in search.trials.points]
    result = _result(best, layers, gate, points, time.monotonic() - start_s)
    if not result.passed:
        return Int8Search(result=result, model=None, measured=None, temporal=None)
    kept = frozenset(best.chosen.kept_nodes)
    model = quantize(best.start.source.body, best.start.recipe.convs(kept))
    return Int8Search(result=result, model=model, measured=best.trials.graph(kept), temporal=best.temporal)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What came of one start.

    Attributes:
        start: where it began.
        trials: the sets that were tried.
        cheapest: the one that the gate asks for.
        chosen: the same, or one that moves less.
        temporal: how it moves; None where it does not pass.
    """

    start: Start
    trials: Trials
    cheapest: ParetoPoint
    chosen: ParetoPoint
    temporal: TemporalParity | None

    @property
    def is_steady(self) -> bool:
        return self.temporal is not None and not self.temporal.shimmers("int8")

    @property
    def is_clean(self) -> bool:
        """Whether no layer stays float but those that nothing here could mend."""
        return self.is_steady and set(self.chosen.kept_nodes) == self.start.broken

    @property
    def worth(self) -> tuple[bool, bool, float]:
        return self.chosen.passed, self.is_steady, self.chosen.int8_macs_share


def _search(
    start: Start, gate: Gate, clip_maps: Callable[[], ClipMaps], cache: SearchCache, most: int
) -> _Search:
    trials = Trials(start, total_macs(start.source.fp32), gate, cache, most)
    cheapest = _cheapest(trials, start.recipe, start.broken)
    chosen, temporal = steadied(trials, start.recipe, cheapest, clip_maps)
    return _Search(start=start, trials=trials, cheapest=cheapest, chosen=chosen, temporal=temporal)


def _result(
    best: _Search, layers: Sequence[ConvLayer], gate: Gate, points: Sequence[ParetoPoint], seconds: float
) -> Int8Result:
    chosen, start = best.chosen, best.start
    kept = frozenset(chosen.kept_nodes)
    return Int8Result(
        passed=chosen.passed,
        limits=gate.limits,
        figures=chosen.figures,
        int8_macs_share=chosen.int8_macs_share,
        layers=decisions(layers, start.recipe, gate.limits, kept, kept - set(best.cheapest.kept_nodes)),
        pareto=tuple(points),
        repairs=start.repairs,
        ranges=_ranges_json(start.source.ranges),
        parity=Parity(precision="int8", frames=best.trials.agreements(kept), rounded=True),
        passes=len(points),
        seconds=seconds,
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
