"""What the int8 search reports: its Pareto front, and the figures that fail the gate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from report_findings import int8_result, smooth_maps
from saliency_edge.export.int8.results import GateLimits, ParetoPoint, format_beside


def point(share: float, cc_worst: float, kldiv_worst: float, *, passed: bool = True) -> ParetoPoint:
    given = int8_result(smooth_maps(1)).pareto[1]
    figures = replace(given.figures, cc_worst=cc_worst, kldiv_worst=kldiv_worst)
    return replace(given, int8_macs_share=share, figures=figures, passed=passed)


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([point(1.0, 0.995, 0.004), point(0.9, 0.997, 0.003)], [0, 1]),
        ([point(1.0, 0.995, 0.004), point(0.9, 0.994, 0.005)], [0]),
        ([point(0.9, 0.995, 0.004), point(1.0, 0.995, 0.004)], [1]),
        ([point(1.0, 0.999, 0.001, passed=False), point(0.9, 0.995, 0.004)], [1]),
        ([point(0.9, 0.996, 0.004), point(0.9, 0.995, 0.003)], [0, 1]),
        ([point(0.9, 0.995, 0.004), point(0.9, 0.995, 0.004)], [0, 1]),
        ([point(1.0, 0.5, 2.0, passed=False)], []),
    ],
    ids=["costlier and better", "costlier and worse", "cheaper", "failed", "two figures", "same", "none"],
)
def test_front(points: list[ParetoPoint], front: list[int]) -> None:
    assert replace(int8_result(smooth_maps(1)), pareto=points).front() == front


def test_failures_never_read_as_their_limit() -> None:
    figures = replace(
        int8_result(smooth_maps(1)).figures,
        cc_mean=0.99799999,
        cc_worst=0.989997,
        kldiv_mean=0.002000001,
        kldiv_worst=0.5,
        peak_shift_p95=1.001,
    )

    assert figures.failures(GateLimits()) == [
        "CC mean 0.99799999 < 0.998",
        "CC worst 0.989997 < 0.99",
        "KLDiv mean 0.002000001 > 0.002",
        "KLDiv worst 0.5 > 0.01",
        "peak shift p95 1.001 > 1",
    ]
    assert figures.failures(GateLimits(cc_mean=0, cc_worst=0.9899971, kldiv_mean=1, kldiv_worst=1)) == [
        "CC worst 0.989997 < 0.9899971",
        "peak shift p95 1.001 > 1",
    ]


@pytest.mark.parametrize(
    ("value", "limit", "spec", "expected"),
    [
        (0.989997, 0.99, ".5f", "0.989997"),
        (0.99, 0.99, ".5f", "0.99000"),
        (0.98999, 0.99, ".5f", "0.98999"),
        (0.9989999999, 0.999, ".5f", "0.9989999999"),
        (1.004, 1.0, ".2f", "1.004"),
        (0.9987651, 0.9987653, ".5f", "0.998765"),
        (float("nan"), 0.99, ".5f", "nan"),
    ],
)
def test_figure_compares_with_its_limit_as_it_is_written(
    value: float, limit: float, spec: str, expected: str
) -> None:
    assert format_beside(value, limit, spec) == expected
