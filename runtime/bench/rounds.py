"""Loops that take turns, so that whatever disturbs the machine disturbs them alike: A B C C B A."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..video.opencv_setup import single_threaded
from .loops import Loop, timed

Series = Mapping[str, NDArray[np.float64]]
"""Seconds of each stage, one value a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """How long loops take turns.

    Attributes:
        rounds: at least so many.
        seconds: and at least so long, with `limit` rounds at most.
        limit: see `seconds`.
    """

    rounds: int = 15
    seconds: float = 3.0
    limit: int = 200


def take_turns(
    loops: Mapping[str, Loop], plan: RoundPlan, on_round: Callable[[], None] = lambda: None
) -> dict[str, Series]:
    """Run each loop twice a round, forth and back, and give the means of both runs.

    A first round is not counted: each loop finds the caches as the others left them.

    Args:
        loops: by name.
        plan: how long.
        on_round: called after each round.

    Returns:
        By loop: seconds of each stage, (rounds,).
    """
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in loops}
    order = [*loops, *reversed(list(loops))]
    with single_threaded():
        _one_round(loops, order)
        start_s = time.monotonic()
        for number in range(plan.limit):
            if number >= plan.rounds and time.monotonic() - start_s >= plan.seconds:
                break
            for name, durations_s in _one_round(loops, order).items():
                rounds[name].append(durations_s)
            on_round()
    return {name: _series_of(values) for name, values in rounds.items()}


def _one_round(loops: Mapping[str, Loop], order: list[str]) -> dict[str, dict[str, float]]:
    runs = [(name, timed(loops[name].stages)) for name in order]
    return {name: _mean([run for of, run in runs if of == name]) for name in loops}


def _mean(runs: list[dict[str, float]]) -> dict[str, float]:
    return {stage: sum(run[stage] for run in runs) / len(runs) for stage in runs[0]}


def _series_of(rounds: list[dict[str, float]]) -> Series:
    return {stage: np.array([durations_s[stage] for durations_s in rounds]) for stage in rounds[0]}
