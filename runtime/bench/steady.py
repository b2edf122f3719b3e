"""Where warm-up ends: found in the durations, not assumed.

The rule is MSER-5, the marginal standard error rule on batches of five: cut where what remains gives the mean
with the smallest standard error (White, Cobb and Spratt 2000, "A comparison of five steady-state truncation
heuristics for simulation", Winter Simulation Conference). Cuts are tried in the first half; where the last
of them is the best, there is no steady state yet. Batches count by their median here, so that one disturbed
frame is no warm-up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BATCH = 5
_LEAST_BATCHES = 10


def steady_start(durations_s: NDArray[np.float64]) -> int | None:
    """Find the first duration of the steady state.

    Args:
        durations_s: (n,), in the order of measuring.

    Returns:
        Its index; None where the durations have not settled in their first half, or are fewer than 50.
    """
    batches = len(durations_s) // BATCH
    if batches < _LEAST_BATCHES:
        return None
    levels = np.median(durations_s[: batches * BATCH].reshape(batches, BATCH), axis=1)
    cuts = range(batches // 2 + 1)
    best = int(np.argmin([_squared_standard_error(levels[cut:]) for cut in cuts]))
    return best * BATCH if best < cuts[-1] else None


def _squared_standard_error(levels: NDArray[np.float64]) -> float:
    return float(levels.var() / len(levels))
