"""Percentiles of durations, totals and counts."""

from __future__ import annotations

import time
from threading import Thread

import pytest

from saliency_edge.runtime.telemetry import Counters, Percentiles, Telemetry, Total


def test_percentiles_of_known_durations() -> None:
    telemetry = Telemetry()
    for milliseconds in range(101):
        telemetry.add("infer", milliseconds / 1e3)

    assert telemetry.percentiles() == {
        "infer": Percentiles(p50_ms=pytest.approx(50), p95_ms=pytest.approx(95), p99_ms=pytest.approx(99))
    }


def test_stages_that_were_not_measured_are_absent() -> None:
    telemetry = Telemetry()
    telemetry.add("write", 1)
    telemetry.add("read", 1)

    assert list(telemetry.percentiles()) == ["write", "read"]
    assert Telemetry().percentiles() == {}


def test_measured_block_and_items() -> None:
    telemetry = Telemetry()

    with telemetry.measure("render"):
        time.sleep(0.02)
    assert list(telemetry.measured(iter("abc"), "read")) == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError), telemetry.measure("fit"):
        _ = 1 / 0

    costs = telemetry.percentiles()
    assert costs["render"].p50_ms >= 20
    assert costs["read"].p99_ms < 20
    assert "fit" not in costs


def test_totals_count_more_than_is_kept() -> None:
    telemetry = Telemetry()
    for number in range(70_000):
        telemetry.add("age", 1.0 if number < 60_000 else 3.0)

    assert telemetry.totals() == {"age": Total(count=70_000, sum_s=60_000 + 3 * 10_000)}
    assert telemetry.percentiles()["age"].p50_ms == pytest.approx(1000)
    assert telemetry.percentiles()["age"].p95_ms == pytest.approx(3000)


def test_counters_of_many_threads() -> None:
    counters = Counters()
    threads = [
        Thread(target=lambda stream=stream: [counters.add("dropped", stream) for _ in range(1000)])
        for stream in (0, 1, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (counters.of("dropped"), counters.of("dropped", 1)) == (1000, 2000)
    assert counters.total("dropped") == 3000
    assert counters.of("restarted") == 0
    assert counters.snapshot() == {("dropped", 0): 1000, ("dropped", 1): 2000}
