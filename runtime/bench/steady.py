"""Where warm-up ends: found in the durations, not assumed.

The rule is MSER-5, the marginal standard error rule on batches of five: cut where what remains gives the mean
with the smallest standard error (White, Cobb and Spratt 2000, "A comparison of five steady-state truncation
heuristics for simulation", Winter Simulation Conference). Cuts are tried in the first half; where the last
of them is the best, there is no steady state yet; nor where that is so from the end backwards, as when a
device grows hot and slows down. Batches count by their median here: one disturbed frame is no warm-up.
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
        Its index; None where the durations have not settled, or are fewer than 50.
    """
    batches = len(durations_s) // BATCH
    if batches < _LEAST_BATCHES:
        return None
    levels = np.median(durations_s[: batches * BATCH].reshape(batches, BATCH), axis=1)
    cut, last = _best_cut(levels), batches // 2
    is_settled = cut < last and _best_cut(levels[::-1]) < last
    return cut * BATCH if is_settled else None


def _best_cut(levels: NDArray[np.float64]) -> int:
    """Find after how many levels of the first half the mean of the rest has the least standard error."""
    return int(np.argmin([levels[cut:].var() / (len(levels) - cut) for cut in range(len(levels) // 2 + 1)]))
