"""Whether a set of layers trembles on video, which a gate of still images does not see."""

from __future__ import annotations

from collections.abc import Callable

from ..temporal import ClipMaps, TemporalParity
from .decisions import by_harm
from .recipe import Recipe
from .results import ParetoPoint
from .trials import Trials

MOST_STEADYING = 4
"""Layers that are kept against shimmer, at most: where these do not help, it comes from elsewhere."""


def steadied(
    trials: Trials, recipe: Recipe, cheapest: ParetoPoint, clip_maps: Callable[[], ClipMaps]
) -> tuple[ParetoPoint, TemporalParity | None]:
    """Keep further layers in float while the maps of a clip flicker more than they may.

    Args:
        trials: what the gate says of sets.
        recipe: how layers are quantised.
        cheapest: the set that the gate let through.
        clip_maps: gives the clip; called where the gate let a set through.

    Returns:
        The first set that passes the gate and is steady, and how it moves; where none of `MOST_STEADYING`
        further layers helps, the set as it was, whose shimmer is then reported.

    Raises:
        ParityError: a map holds NaN.
    """
    if not cheapest.passed:
        return cheapest, None
    clip = clip_maps()
    temporal = _movement(trials, cheapest, clip)
    if not temporal.shimmers("int8"):
        return cheapest, temporal
    kept = list(cheapest.kept_nodes)
    for name in by_harm(recipe, frozenset(kept))[: min(MOST_STEADYING, trials.left)]:
        kept.append(name)
        point = trials.attempt(kept, f"{name} kept against shimmer")
        moved = _movement(trials, point, clip)
        if point.passed and not moved.shimmers("int8"):
            return point, moved
    return cheapest, temporal


def _movement(trials: Trials, point: ParetoPoint, clip: ClipMaps) -> TemporalParity:
    return clip.compared({"int8": trials.graph(frozenset(point.kept_nodes))})
