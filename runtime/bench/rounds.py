"""Loops that take turns, so that whatever disturbs the machine disturbs them alike: A B C C B A."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..video.opencv_setup import single_threaded
from .loops import CPU, FRAME, Loop, timed
from .statistics import median_interval

Series = Mapping[str, NDArray[np.float64]]
"""Seconds of each stage, one value a round."""

_ROUNDS_BETWEEN_LOOKS = 5

_Round = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """How long loops take turns.

    Attributes:
        rounds: at least so many.
        precision: then until the interval of each loop's ratio to the last loop reaches no further from it,
            as a part of it.
        seconds: but not longer than this.
    """

    rounds: int = 15
    precision: float = 0.03
    seconds: float = 45.0


def take_turns(
    loops: Mapping[str, Loop], plan: RoundPlan, on_round: Callable[[], None] = lambda: None
) -> dict[str, Series]:
    """Run each loop twice a round, forth and back, and give what a round says.

    Of both runs the lesser time counts: what only one of them met was a disturbance. Of the processor's time,
    which has few, it is the mean. A first round is not counted: each loop finds the caches as others left
    them.

    Args:
        loops: by name.
        plan: how long.
        on_round: called after each round.

    Returns:
        By loop: seconds of each stage, (rounds,).
    """
    rounds: list[_Round] = []
    with single_threaded():
        _one_round(loops)
        start_s = time.monotonic()
        while not _is_enough(rounds, time.monotonic() - start_s, plan):
            rounds.append(_one_round(loops))
            on_round()
    return {name: _series_of(rounds, name) for name in loops}


def _one_round(loops: Mapping[str, Loop]) -> _Round:
    order = [*loops, *reversed(list(loops))]
    runs = [(name, timed(loops[name].stages)) for name in order]
    return {name: _both([run for of, run in runs if of == name]) for name in loops}


def _both(runs: list[dict[str, float]]) -> dict[str, float]:
    least = {stage: min(run[stage] for run in runs) for stage in runs[0]}
    return {**least, CPU: sum(run[CPU] for run in runs) / len(runs)}


def _is_enough(rounds: list[_Round], elapsed_s: float, plan: RoundPlan) -> bool:
    if len(rounds) < plan.rounds or len(rounds) % _ROUNDS_BETWEEN_LOOKS:
        return elapsed_s >= plan.seconds and len(rounds) >= plan.rounds
    return elapsed_s >= plan.seconds or _reach(rounds) <= plan.precision


def _reach(rounds: list[_Round]) -> float:
    """Give how far the widest interval of a ratio reaches from its middle to its ends, as a part of it."""
    *names, last = rounds[0]
    divisor = _series_of(rounds, last)[FRAME]
    intervals = [median_interval(_series_of(rounds, name)[FRAME] / divisor) for name in names]
    return max((interval.high - interval.low) / 2 / interval.estimate for interval in intervals)


def _series_of(rounds: list[_Round], name: str) -> Series:
    stages = rounds[0][name]
    return {stage: np.array([durations_s[name][stage] for durations_s in rounds]) for stage in stages}
