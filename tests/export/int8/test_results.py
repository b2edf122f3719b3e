"""The Pareto front of what a search tried: sets that pass and that no other one reaches in all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from report_findings import int8_result, smooth_maps
from saliency_edge.export.int8.results import ParetoPoint


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
    ids=["dearer and better", "dearer and worse", "cheaper", "failed", "two figures", "same", "none"],
)
def test_front(points: list[ParetoPoint], front: list[int]) -> None:
    assert replace(int8_result(smooth_maps(1)), pareto=points).front() == front
