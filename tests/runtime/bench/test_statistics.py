"""Percentiles, intervals and steady state, against hand-computed values and by their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.bench.statistics import (
    change_interval,
    growth_interval,
    latency_statistics,
    median_interval,
    steady_start,
)

TRIALS = 200


def noisy(generator: np.random.Generator, level: float, count: int) -> NDArray[np.float64]:
    """Draw durations with the long tail that they have: a gamma distribution of 5% spread over a floor."""
    return level * (0.9 + generator.gamma(4.0, 0.025, count))


def test_latency_of_the_first_hundred_numbers() -> None:
    latency = latency_statistics(np.arange(101) / 1e3)

    assert (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms, latency.max_ms) == pytest.approx(
        (50, 90, 95, 99, 100)
    )


def test_interval_of_the_median_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    truth = float(np.median(noisy(generator, 1.0, 1_000_000)))
    intervals = [median_interval(noisy(generator, 1.0, 25)) for _ in range(TRIALS)]
    covered = sum(interval.low <= truth <= interval.high for interval in intervals)

    assert 0.90 <= covered / TRIALS <= 1.0, f"{covered} of {TRIALS}"


@pytest.mark.parametrize("change", [0.8, 1.0, 1.2])
def test_interval_of_a_change_covers_it(change: float) -> None:
    generator = np.random.default_rng(2)
    intervals = [
        change_interval(noisy(generator, 1.0, 20), noisy(generator, change, 20)) for _ in range(TRIALS)
    ]
    covered = sum(interval.low <= change <= interval.high for interval in intervals)

    assert 0.90 <= covered / TRIALS <= 1.0, f"{covered} of {TRIALS}"


def test_equal_samples_give_equal_intervals() -> None:
    samples = noisy(np.random.default_rng(3), 1.0, 20)

    assert median_interval(samples) == median_interval(samples)


def test_growth_of_a_leak_is_its_rate() -> None:
    growth = growth_interval(np.arange(101) * 3.0)

    assert (growth.low, growth.estimate, growth.high) == (3, 3, 3)


def test_growth_does_not_see_what_is_filled_once() -> None:
    levels = np.zeros(101)
    levels[37:] = 500.0

    assert growth_interval(levels).high == 0


def test_growth_interval_is_the_sign_tests() -> None:
    """Of ten, the second least to the second most: 2.1% lies outside, one further in 10.9%."""
    levels = np.concatenate([[0.0], np.cumsum(np.repeat(np.arange(1.0, 11.0), 10))])
    growth = growth_interval(levels)

    assert (growth.low, growth.estimate, growth.high) == pytest.approx((2, 5.5, 9))


def test_steady_state_begins_where_warm_up_ends() -> None:
    durations_s = noisy(np.random.default_rng(4), 0.1, 200)
    durations_s[:30] *= np.linspace(3, 1.3, 30)

    assert steady_start(durations_s) in range(25, 61)


def test_one_disturbed_frame_is_no_warm_up() -> None:
    durations_s = np.full(100, 0.1) + np.random.default_rng(5).normal(0, 1e-4, 100)
    quiet = steady_start(durations_s)
    durations_s[32] = 5.0

    assert steady_start(durations_s) == quiet


def test_what_slows_down_all_the_time_is_not_steady() -> None:
    assert steady_start(np.linspace(0.1, 0.3, 100) ** 3) is None


def test_too_few_durations_tell_nothing() -> None:
    assert steady_start(np.full(49, 0.1)) is None
