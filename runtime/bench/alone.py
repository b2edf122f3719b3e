"""A model alone in its own loop: latency by stage, throughput, memory growth, power."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..video.opencv_setup import single_threaded
from .loops import FRAME, Loop, timed
from .memory import give_back_free_memory, resident_bytes
from .power import BoardUse, read_board, watched
from .statistics import Interval, Latency, growth_interval, latency_of
from .steady import steady_start

_BYTES_PER_MB = 1e6
_FRAMES_OF_A_RATE = 100
_SEGMENTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AlonePlan:
    """How long a loop runs.

    Attributes:
        frames: at least so many, and at least `seconds`; then until it is steady, `limit` times that at most.
        seconds: see `frames`.
        limit: see `frames`.
    """

    frames: int = 100
    seconds: float = 2.0
    limit: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """What a loop did by itself.

    Attributes:
        latency: of each stage, and of all as `frame`, in the steady state.
        frames: that were counted for it.
        warm_up_frames: that were not.
        is_steady: whether a steady state was found; else the second half was counted.
        frames_per_s: one frame after another, pauses between them included.
        growth_mb: of the resident memory, per 100 frames of the steady state.
        board: power and clocks.
    """

    latency: Mapping[str, Latency]
    frames: int
    warm_up_frames: int
    is_steady: bool
    frames_per_s: float
    growth_mb: Interval | None
    board: BoardUse

    def joule_per_frame(self) -> float | None:
        """Give the board's energy for a frame, where it tells its power."""
        watts = self.board.means.get("power_w")
        return watts / self.frames_per_s if watts is not None else None


def run_alone(
    loop: Loop, plan: AlonePlan, batch: int = 1, on_frame: Callable[[], None] = lambda: None
) -> Alone:
    """Run a loop until it is steady, and long enough.

    Args:
        loop: what to run.
        plan: how long.
        batch: frames of one turn of the loop, for the throughput.
        on_frame: called after each turn.
    """
    turns: list[dict[str, float]] = []
    levels: list[float] = []
    with single_threaded(), watched(read_board) as board:
        give_back_free_memory()
        start_s = time.monotonic()
        while not _is_enough(turns, time.monotonic() - start_s, plan):
            turns.append(timed(loop.stages))
            levels.append(float(resident_bytes() or 0))
            on_frame()
        use = board()
    return _result(turns, np.array(levels), batch, use)


def _is_enough(turns: list[dict[str, float]], elapsed_s: float, plan: AlonePlan) -> bool:
    if len(turns) < plan.frames or elapsed_s < plan.seconds:
        return False
    given_up = len(turns) >= plan.limit * plan.frames and elapsed_s >= plan.limit * plan.seconds
    return given_up or (len(turns) % 10 == 0 and steady_start(_frames_s(turns)) is not None)


def _frames_s(turns: list[dict[str, float]]) -> NDArray[np.float64]:
    return np.array([turn[FRAME] for turn in turns])


def _result(turns: list[dict[str, float]], levels: NDArray[np.float64], batch: int, board: BoardUse) -> Alone:
    found = steady_start(_frames_s(turns))
    start = len(turns) // 2 if found is None else found
    steady = turns[start:]
    return Alone(
        latency={stage: latency_of(np.array([turn[stage] for turn in steady])) for stage in steady[0]},
        frames=len(steady) * batch,
        warm_up_frames=start * batch,
        is_steady=found is not None,
        frames_per_s=batch / float(_frames_s(steady).mean()),
        growth_mb=_growth(levels[start:]),
        board=board,
    )


def _growth(levels: NDArray[np.float64]) -> Interval | None:
    """Give the growth in MB per 100 turns; None where the system does not tell its memory."""
    if not levels.any() or len(levels) < 2 * _SEGMENTS:
        return None
    return growth_interval(levels / _BYTES_PER_MB * _FRAMES_OF_A_RATE, segments=_SEGMENTS)
