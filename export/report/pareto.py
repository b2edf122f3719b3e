"""The report's Pareto fronts: what the sets of precisions that were tried cost and keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..pareto_front import front
from .plots import Box, Line, Mark, Plot, Rule, Scale, Tick, joined, nice_ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure of the gate and how it is spread over an axis: better is higher.

    Attributes:
        name: for people.
        field: of `GateFigures` and `GateLimits`.
        height: from a value to its place on the axis.
        ticks: values that are easily read.
    """

    name: str
    field: str
    height: Callable[[float], float]
    ticks: Sequence[float]


def nines(cc: float) -> float:
    """Spread correlations near 1: 0.9 is 1, 0.99 is 2, 0.999 is 3."""
    return -math.log10(1 - min(max(cc, 0.0), 1 - 1e-7))


def smallness(kldiv: float) -> float:
    """Spread divergences near 0: 0.1 is 1, 0.01 is 2."""
    return -math.log10(max(kldiv, 1e-7))


WORST_CC = Metric(
    name="CC",
    field="cc_worst",
    height=nines,
    ticks=(0.9, 0.99, 0.999, 0.9999, 0.99999, 0.5, 0.8, 0.95, 0.98, 0.995, 0.998, 0.9995, 0.9998),
)
WORST_KLDIV = Metric(
    name="KLDiv",
    field="kldiv_worst",
    height=smallness,
    ticks=(1, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 0.5, 0.2, 0.05, 0.02, 5e-3, 2e-3, 5e-4, 2e-4),
)


def pareto_plot(points: Sequence[Mapping[str, Any]], gate: Mapping[str, Any], metric: Metric) -> Plot:
    """Draw the sets of precisions that were tried: share of int8 against a figure of the worst frame."""
    limit = gate["limits"][metric.field]
    shares = [point["int8_macs_share"] for point in points]
    heights = [metric.height(point["figures"][metric.field]) for point in points]
    box, margin = Box(left=92), max(0.01, 0.08 * (max(shares) - min(shares)))
    x = Scale(low=min(shares) - margin, high=max(shares) + margin, start_px=box.left, end_px=box.right)
    ends = (min(*heights, metric.height(limit)) - 0.2, max(*heights, metric.height(limit)) + 0.2)
    y = Scale(low=ends[0], high=ends[1], start_px=box.bottom, end_px=box.top)
    places = [(x.px(share), y.px(height)) for share, height in zip(shares, heights, strict=True)]
    kinds = [_kind(point, place == gate["taken"]) for place, point in enumerate(points)]
    labels = _apart(places)
    best = [places[found] for found in front(list(zip(shares, heights, strict=True)))]
    x_ticks = nice_ticks(x.low, min(1.0, x.high), 5)
    return Plot(
        box=box,
        description=f"Share of the multiplications in int8 against the worst frame's {metric.name}",
        x_label="share of the multiplications in int8",
        y_label=f"{metric.name} from PyTorch's map, worst frame",
        x_ticks=[Tick(px=x.px(tick), text=f"{100 * tick:g}%") for tick in x_ticks],
        y_ticks=_metric_ticks(y, metric),
        lines=[Line(points=joined(sorted(best)), kind="front")],
        marks=[
            Mark(x=px, y=py, kind=kind, title=_set_title(point, metric), label=label)
            for (px, py), kind, point, label in zip(places, kinds, points, labels, strict=True)
        ],
        rules=[Rule(px=y.px(metric.height(limit)), text=f"gate: {limit:g}")],
        legend=[("taken", "taken"), ("passed", "passes"), ("failed", "fails"), ("front", "Pareto front")],
    )


def _kind(point: Mapping[str, Any], taken: bool) -> str:
    return "taken" if taken else "passed" if point["passed"] else "failed"


def _set_title(point: Mapping[str, Any], metric: Metric) -> str:
    share, value = point["int8_macs_share"], point["figures"][metric.field]
    return f"{point['step']}: {share:.1%} in int8, {metric.name} {value:.5f} at worst"


def _apart(places: Sequence[tuple[float, float]]) -> list[str]:
    """Number the points, except where a number would cover an earlier one."""
    labels: list[str] = []
    for number, (x, y) in enumerate(places):
        covered = any(
            label and abs(x - left) < 26 and abs(y - top) < 18
            for label, (left, top) in zip(labels, places[:number], strict=True)
        )
        labels.append("" if covered else str(number + 1))
    return labels


def _metric_ticks(scale: Scale, metric: Metric) -> list[Tick]:
    """Give values that are easily read, some way apart."""
    ticks: list[Tick] = []
    for value in metric.ticks:
        height = metric.height(value)
        px = scale.px(height)
        if scale.low <= height <= scale.high and all(abs(tick.px - px) >= 24 for tick in ticks):
            ticks.append(Tick(px=px, text=f"{value:g}"))
    return ticks
