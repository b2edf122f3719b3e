"""Percentiles of durations."""

from __future__ import annotations

import time

import pytest

from saliency_edge.runtime.telemetry import Percentiles, Telemetry


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
