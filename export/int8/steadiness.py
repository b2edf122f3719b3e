"""Whether a set of layers trembles on video, which a gate of still images does not see."""

from __future__ import annotations

from collections.abc import Callable

from ..temporal import ClipMaps, TemporalParity
from .results import ParetoPoint
from .search_cache import SearchCache
from .trembling import trembling_alone
from .trials import Trials

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
