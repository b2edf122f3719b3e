"""Statistics of durations: percentiles, confidence intervals of medians and ratios, growth, steady state.

The steady state is found by MSER-5, the marginal standard error rule on batches of five: cut where what
remains gives the mean with the smallest standard error (White, Cobb and Spratt 2000, "A comparison of five
steady-state truncation heuristics for simulation", Winter Simulation Conference). Cuts are tried in the first
half; where the last of them is the best, there is no steady state yet; nor where that is so from the end
backwards, as when a device grows hot and slows down. Batches count by their median here: one disturbed frame
is no warm-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
STEADY_BATCH = 5
_LEAST_BATCHES = 10
_SEED = 20160627  # of the resampling: the same samples give the same interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and the ends of its confidence interval."""

    low: float
    estimate: float
    high: float

    def to_json(self) -> list[float]:
        """Low, estimate and high, to six digits."""
        return [float(f"{value:.6g}") for value in (self.low, self.estimate, self.high)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Distribution of durations, in ms."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    mean_ms: float


def latency_statistics(durations_s: NDArray[np.float64]) -> Latency:
    """Percentiles, maximum and mean of durations, (n,) in seconds."""
    p50, p90, p95, p99 = (float(value) for value in np.percentile(durations_s, (50, 90, 95, 99)) * 1e3)
    return Latency(
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=float(durations_s.max()) * 1e3,
        mean_ms=float(durations_s.mean()) * 1e3,
    )


def median_interval(samples: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """Percentile bootstrap of the median of samples, (n,) (Efron and Tibshirani 1993, chapter 13)."""
    return _percentile_interval(_resampled_medians(samples), float(np.median(samples)), confidence)


def change_interval(
    before: NDArray[np.float64], now: NDArray[np.float64], confidence: float = 0.95
) -> Interval:
    """Bootstrap of the ratio of two medians, now over before; each side is resampled by itself.

    Args:
        before: (n,), above 0.
        now: (m,).
        confidence: of the interval.
    """
    resampled = _resampled_medians(now, stream=1) / _resampled_medians(before)
    return _percentile_interval(resampled, float(np.median(now) / np.median(before)), confidence)


def _resampled_medians(samples: NDArray[np.float64], stream: int = 0) -> NDArray[np.float64]:
    """Medians of `RESAMPLES` resamples with replacement, (RESAMPLES,); each stream draws its own."""
    generator = np.random.default_rng((_SEED, stream))
    chosen = generator.integers(0, len(samples), (RESAMPLES, len(samples)))
    medians: NDArray[np.float64] = np.median(samples[chosen], axis=1)
    return medians


def growth_interval(levels: NDArray[np.float64], segments: int = 10, confidence: float = 0.95) -> Interval:
    """Growth per step of a level, such as memory: the median over equal segments.

    A leak grows in every segment; a cache that fills once grows in one, and the median does not see it. The
    interval is the sign test's (Conover 1999, section 3.2): order statistics, with no assumption on how
    growth is spread.

    Args:
        levels: (n,), one after each step; `segments` + 1 at least.
        segments: into how many parts the steps are cut.
        confidence: of the interval, at least.
    """
    edges = np.linspace(0, len(levels) - 1, segments + 1).round().astype(int)
    growths = np.sort(np.diff(levels[edges]) / np.diff(edges))
    rank = _sign_rank(segments, confidence)
    return Interval(
        low=float(growths[rank]),
        estimate=float(np.median(growths)),
        high=float(growths[segments - 1 - rank]),
    )


def _sign_rank(count: int, confidence: float) -> int:
    """Largest rank r (from 0) whose interval, from r-th smallest to r-th largest, covers the median."""
    rank, outside = 0, 2 / 2**count
    while rank + 1 < count / 2:
        outside += 2 * comb(count, rank + 1) / 2**count
        if outside > 1 - confidence:
            break
        rank += 1
    return rank


def _percentile_interval(resampled: NDArray[np.float64], estimate: float, confidence: float) -> Interval:
    tail = (1 - confidence) / 2 * 100
    low, high = (float(value) for value in np.percentile(resampled, (tail, 100 - tail)))
    return Interval(low=low, estimate=estimate, high=high)


def steady_start(durations_s: NDArray[np.float64]) -> int | None:
    """Index of the first duration of the steady state, by MSER-5.

    Args:
        durations_s: (n,), in the order of measuring.

    Returns:
        The index; None where the durations have not converged, or are fewer than 50.
    """
    batches = len(durations_s) // STEADY_BATCH
    if batches < _LEAST_BATCHES:
        return None
    levels = np.median(durations_s[: batches * STEADY_BATCH].reshape(batches, STEADY_BATCH), axis=1)
    cut, last = _best_cut(levels), batches // 2
    has_converged = cut < last and _best_cut(levels[::-1]) < last
    return cut * STEADY_BATCH if has_converged else None


def _best_cut(levels: NDArray[np.float64]) -> int:
    """Number of levels, half of them at most, without which the mean has the least standard error."""
    return int(np.argmin([levels[cut:].var() / (len(levels) - cut) for cut in range(len(levels) // 2 + 1)]))
