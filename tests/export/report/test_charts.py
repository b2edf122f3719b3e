"""Plots: points lie where their figures say, by the ticks that are drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from report_findings import LAYERS, findings_of
from saliency_edge.export.report.charts import OBSERVER_NAMES, charts_of
from saliency_edge.export.report.plots import Plot, Scale, Tick, nice_ticks

Read = Callable[[float], float]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return findings_of().to_json()


def plot(report: dict[str, Any], name: str) -> Plot:
    found = charts_of(report)[name]
    assert found is not None
    return found


def reader(ticks: Sequence[Tick], as_drawn: Callable[[float], float] = float) -> Read:
    """Read values off an axis as a reader does: along the line between its outermost ticks."""
    values = [
        as_drawn(float(t.text.rstrip("%")) / (100 if "%" in t.text else 1)) for t in (ticks[0], ticks[-1])
    ]
    slope = (values[1] - values[0]) / (ticks[-1].px - ticks[0].px)
    return lambda px: values[0] + slope * (px - ticks[0].px)


def by_height(ticks: Sequence[Tick]) -> list[Tick]:
    return sorted(ticks, key=lambda tick: tick.px)


def nines(cc: float) -> float:
    return -math.log10(1 - cc)


def test_sqnr_points_are_the_layers(report: dict[str, Any]) -> None:
    drawn = plot(report, "sqnr")
    x, rows = reader(drawn.x_ticks), {tick.px: tick.text for tick in drawn.y_ticks}

    found = {(rows[mark.y], mark.kind): x(mark.x) for mark in drawn.marks}

    expected = {
        (layer["node"], precision): value
        for layer in report["layers"]
        for precision, value in layer["in_graph_db"].items()
    }
    assert len(found) == 2 * len(LAYERS)
    assert found == pytest.approx(expected, abs=0.1)


def test_thresholds_are_shares_of_the_largest(report: dict[str, Any]) -> None:
    drawn = plot(report, "ranges")
    x, rows = reader(drawn.x_ticks), {tick.px: tick.text for tick in drawn.y_ticks}
    layer = report["layers"][2]
    largest = max(layer["thresholds"].values())

    marks = [mark for mark in drawn.marks if rows[mark.y] == layer["node"]]

    shares = sorted(x(mark.x) for mark in marks if mark.kind != "chosen")
    assert shares == pytest.approx(
        sorted(value / largest for value in layer["thresholds"].values()), abs=2e-3
    )
    assert len(shares) == len(OBSERVER_NAMES)
    chosen = [x(mark.x) for mark in marks if mark.kind == "chosen"]
    assert chosen == pytest.approx([layer["threshold"] / largest], abs=2e-3)


@pytest.mark.parametrize(
    ("name", "field", "limit", "as_drawn"),
    [("pareto_cc", "cc_worst", 0.99, nines), ("pareto_kldiv", "kldiv_worst", 0.01, math.log10)],
)
def test_pareto_points_and_the_gate_are_read_off_right(
    name: str, field: str, limit: float, as_drawn: Callable[[float], float], report: dict[str, Any]
) -> None:
    drawn = plot(report, name)
    x, y = reader(drawn.x_ticks), reader(by_height(drawn.y_ticks), as_drawn)

    for mark, point in zip(drawn.marks, report["pareto"], strict=True):
        assert x(mark.x) == pytest.approx(point["int8_macs_share"], abs=2e-3)
        assert y(mark.y) == pytest.approx(as_drawn(point["figures"][field]), abs=0.02)
    assert [mark.kind for mark in drawn.marks] == ["failed", "taken"]
    assert y(drawn.rules[0].px) == pytest.approx(as_drawn(limit), abs=0.02)
    assert drawn.rules[0].text == f"gate: {limit}"
    assert drawn.marks[1].y < drawn.rules[0].px < drawn.marks[0].y  # better is higher


def test_a_dominated_candidate_is_off_the_front(report: dict[str, Any]) -> None:
    best = report["pareto"][1]
    dominated = {**best, "int8_macs_share": best["int8_macs_share"] - 0.1}
    drawn = plot({**report, "pareto": [*report["pareto"], dominated]}, "pareto_cc")

    front = drawn.lines[0].points.split()

    assert [mark.kind for mark in drawn.marks] == ["failed", "taken", "passed"]
    assert set(front) == {f"{mark.x:g},{mark.y:g}" for mark in drawn.marks[:2]}


def test_numbers_do_not_cover_each_other(report: dict[str, Any]) -> None:
    drawn = plot({**report, "pareto": [*report["pareto"], *report["pareto"]]}, "pareto_cc")

    assert [mark.label for mark in drawn.marks] == ["1", "2", "", ""]


def test_flicker_is_drawn_step_by_step(report: dict[str, Any]) -> None:
    drawn = plot(report, "temporal")
    x, y = reader(drawn.x_ticks), reader(drawn.y_ticks)

    for line in drawn.lines:
        points = [tuple(map(float, point.split(","))) for point in line.points.split()]
        steps = report["temporal"]["graphs"][line.kind]["steps"]["flicker"]
        assert [x(px) for px, _ in points] == pytest.approx(range(1, len(steps) + 1), abs=0.02)
        assert [y(px) for _, px in points] == pytest.approx(steps, rel=0.01)
    assert [line.kind for line in drawn.lines] == ["fp32", "int8"]


def test_scales_converge_towards_all_frames(report: dict[str, Any]) -> None:
    drawn = plot(report, "convergence")
    y = reader(drawn.y_ticks)

    points = [tuple(map(float, point.split(","))) for point in drawn.lines[0].points.split()]

    first, name = drawn.lines[0].kind, "percentile_99.9"
    changes = [c for c in report["calibration"]["audit"]["ranges"]["changes"] if c["observer"] == name]
    eighth, quarter, half, other_half = [change["relative"] for change in changes]
    assert first == "percentile-99-9"
    assert [(tick.px, tick.text) for tick in drawn.x_ticks] == [
        (x, text) for (x, _), text in zip(points, ("64", "128", "250 to 262"), strict=True)
    ]
    assert half > other_half
    assert [y(px) for _, px in points] == pytest.approx([eighth, quarter, half], abs=2e-4)
    assert y(drawn.rules[0].px) == pytest.approx(0.01, abs=2e-4)


@pytest.mark.parametrize("name", ["sqnr", "ranges", "pareto_cc", "pareto_kldiv", "convergence", "temporal"])
def test_all_is_inside_the_frame(name: str, report: dict[str, Any]) -> None:
    drawn = plot(report, name)
    box = drawn.box

    places = [(mark.x, mark.y) for mark in drawn.marks]
    for line in drawn.lines:
        places += [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", line.points)]
    assert places
    assert all(box.left <= x <= box.right and box.top <= y <= box.bottom for x, y in places)
    assert 0 < box.left < box.right < box.width
    assert 0 < box.top < box.bottom < box.height


def test_without_int8_there_is_no_front_and_no_range() -> None:
    drawn = charts_of(findings_of(int8=False).to_json())

    assert {name for name, found in drawn.items() if found is not None} == {"sqnr"}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.0032, [0, 0.001, 0.002, 0.003]),
        (-3, 47, [0, 10, 20, 30, 40]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high, 5) == pytest.approx(expected)


def test_a_scale_holds_to_its_ends() -> None:
    upward = Scale(low=0, high=10, start_px=200, end_px=100)

    assert [upward.px(value) for value in (-1, 0, 5, 10, 11)] == [200, 200, 150, 100, 100]
    assert np.isfinite(upward.px(3))
