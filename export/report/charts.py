"""The report's charts, each computed from the figures of `report.json` alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...calib.audit import CONVERGED
from ..int8.results import format_beside
from ..pareto_front import front
from .plots import (
    Box,
    Line,
    Mark,
    Plot,
    Rule,
    Scale,
    Tick,
    joined,
    nice_ticks,
    row_box,
    row_px,
    row_ticks,
    text_width_px,
)

_SQNR_SHOWN_DB = 100.0
OBSERVER_NAMES = {
    "percentile_99.9": "99.9%",
    "percentile_99.99": "99.99%",
    "percentile_99.999": "99.999%",
    "entropy": "entropy",
    "mse": "MSE",
    "minmax": "min-max",
}


def charts_of(report: Mapping[str, Any]) -> dict[str, Plot | None]:
    """Every chart by its name; None where the report has no figures for it."""
    layers, points, temporal = report["layers"], report["pareto"], report["temporal"]
    audit = (report["calibration"] or {}).get("audit", {})
    changes = audit.get("ranges", {}).get("changes", [])
    has_ranges = any(layer.get("thresholds") for layer in layers)
    return {
        "sqnr": sqnr_plot(layers) if any(layer["in_graph_db"] for layer in layers) else None,
        "ranges": ranges_plot(layers) if has_ranges else None,
        "pareto_cc": pareto_plot(points, report["gate"], WORST_CC) if points else None,
        "pareto_kldiv": pareto_plot(points, report["gate"], WORST_KLDIV) if points else None,
        "convergence": convergence_plot(changes) if changes else None,
        "temporal": temporal_plot(temporal) if temporal else None,
    }


def sqnr_plot(layers: Sequence[Mapping[str, Any]]) -> Plot:
    """SQNR of each layer's output in dB, by precision."""
    names = [layer["node"] for layer in layers]
    box, rows = row_box(names), len(layers)
    found = [min(value, _SQNR_SHOWN_DB) for layer in layers for value in layer["in_graph_db"].values()]
    scale = Scale(low=min(0.0, *found), high=max(*found, 20.0), start_px=box.left, end_px=box.right)
    marks = [
        Mark(
            x=scale.px(value),
            y=row_px(box, row, rows),
            kind=precision,
            title=f"{layer['node']}, {precision}: {value:.1f} dB",
        )
        for row, layer in enumerate(layers)
        for precision, value in layer["in_graph_db"].items()
    ]
    kinds = dict.fromkeys(mark.kind for mark in marks)
    return Plot(
        box=box,
        description="Signal to quantisation noise of each layer's output, by precision",
        x_label="SQNR in graph, dB",
        y_label="",
        x_ticks=[Tick(px=scale.px(tick), text=f"{tick:g}") for tick in nice_ticks(scale.low, scale.high)],
        y_ticks=row_ticks(box, names),
        marks=marks,
        legend=[(kind, kind) for kind in kinds],
    )


def ranges_plot(layers: Sequence[Mapping[str, Any]]) -> Plot:
    """Clipping threshold of each observer for a layer's input, as a share of the observed maximum."""
    shown = [layer for layer in layers if layer["thresholds"]]
    names = [layer["node"] for layer in shown]
    box, rows = row_box(names), len(shown)
    scale = Scale(low=0.0, high=1.0, start_px=box.left, end_px=box.right)
    marks = [
        mark
        for row, layer in enumerate(shown)
        for mark in _observer_marks(layer, scale, row_px(box, row, rows))
    ]
    return Plot(
        box=box,
        description="Clipping threshold of each observer for the input of each layer",
        x_label="threshold / observed maximum",
        y_label="",
        x_ticks=[Tick(px=scale.px(tick), text=f"{tick:.0%}") for tick in nice_ticks(0, 1)],
        y_ticks=row_ticks(box, names),
        marks=marks,
        legend=[*((_css(name), text) for name, text in OBSERVER_NAMES.items()), ("chosen", "chosen")],
    )


def _observer_marks(layer: Mapping[str, Any], scale: Scale, y: float) -> list[Mark]:
    """A mark for each observer, and a ring around the chosen threshold."""
    largest = max(layer["thresholds"].values())
    marks = [
        Mark(
            x=scale.px(layer["thresholds"][name] / largest),
            y=y,
            kind=_css(name),
            title=f"{layer['tensor']}, {text}: {layer['thresholds'][name]:.4g}",
        )
        for name, text in OBSERVER_NAMES.items()
    ]
    if layer["threshold"] is not None:
        title = f"{layer['tensor']}, chosen ({layer['observer']}): {layer['threshold']:.4g}"
        marks.append(Mark(x=scale.px(layer["threshold"] / largest), y=y, kind="chosen", title=title))
    return marks


def temporal_plot(temporal: Mapping[str, Any]) -> Plot:
    """Flicker of each graph's maps from frame to frame."""
    box, graphs = Box(), temporal["graphs"]
    steps = {precision: graph["steps"]["flicker"] for precision, graph in graphs.items()}
    highest = max(max(values) for values in steps.values()) or 1.0
    x_scale = Scale(low=1, high=max(temporal["frames"] - 1, 2), start_px=box.left, end_px=box.right)
    y_scale = Scale(low=0.0, high=1.08 * highest, start_px=box.bottom, end_px=box.top)
    lines = [
        Line(
            points=joined([(x_scale.px(step), y_scale.px(value)) for step, value in enumerate(values, 1)]),
            kind=precision,
        )
        for precision, values in steps.items()
    ]
    return Plot(
        box=box,
        description="Flicker of the maps over the frames of a clip, by precision",
        x_label="step from one frame of the clip to the next",
        y_label="mean change of a cell (maps are 0 to 1)",
        x_ticks=[
            Tick(px=x_scale.px(tick), text=f"{tick:g}")
            for tick in nice_ticks(1, x_scale.high)
            if tick.is_integer()
        ],
        y_ticks=[Tick(px=y_scale.px(tick), text=f"{tick:g}") for tick in nice_ticks(0, y_scale.high, 5)],
        lines=lines,
        legend=[(precision, precision) for precision in steps],
    )


def convergence_plot(changes: Sequence[Mapping[str, Any]]) -> Plot:
    """Largest relative change of a scale when a part of the calibration frames is used, by observer."""
    box = Box()
    highest = max(0.02, *(change["relative"] for change in changes))
    steps = list(dict.fromkeys(change["step"] for change in changes))
    texts = {step: _frames_text(changes, step) for step in steps}
    # The labels of the last column, such as `250 to 262`, are wider than the margin on the right.
    end_px = min(box.right - 20.0, box.width - text_width_px(texts[steps[-1]]) / 2)
    x = Scale(low=0, high=max(len(steps) - 1, 1), start_px=box.left + 20, end_px=end_px)
    y = Scale(low=0.0, high=1.08 * highest, start_px=box.bottom, end_px=box.top)
    columns = {step: x.px(place) for place, step in enumerate(steps)}
    lines = [
        Line(points=joined(_convergence_points(changes, name, columns, y)), kind=_css(name))
        for name in OBSERVER_NAMES
    ]
    return Plot(
        box=box,
        description="Convergence of the quantisation scales with the number of calibration frames",
        x_label="calibration frames used",
        y_label="largest change of a scale from that of all frames",
        x_ticks=[Tick(px=px, text=texts[step]) for step, px in columns.items()],
        y_ticks=[Tick(px=y.px(tick), text=f"{100 * tick:g}%") for tick in nice_ticks(0, y.high, 5)],
        lines=lines,
        rules=[Rule(px=y.px(CONVERGED))],
        legend=[*((_css(name), text) for name, text in OBSERVER_NAMES.items()), ("limit", "converged below")],
    )


def _convergence_points(
    changes: Sequence[Mapping[str, Any]], observer: str, columns: Mapping[str, float], y: Scale
) -> list[tuple[float, float]]:
    """A point for each step; of several parts of one size, that with the largest change."""
    own = [change for change in changes if change["observer"] == observer]
    return [
        (px, y.px(max(change["relative"] for change in own if change["step"] == step)))
        for step, px in columns.items()
    ]


def _frames_text(changes: Sequence[Mapping[str, Any]], step: str) -> str:
    """Number of frames of a step's parts, a range where they differ."""
    counts = sorted({change["frames"] for change in changes if change["step"] == step})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _css(observer: str) -> str:
    """CSS class of an observer."""
    return observer.replace(".", "-").replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure of the gate and its axis, on which better is higher.

    Attributes:
        name: as in the chart's labels.
        field: its name in `GateFigures` and `GateLimits`.
        height: from a value to its coordinate on the axis.
        ticks: round values, those to prefer first.
    """

    name: str
    field: str
    height: Callable[[float], float]
    ticks: Sequence[float]


def nines(cc: float) -> float:
    """Logarithmic distance of a correlation from 1: 0.9 is 1, 0.99 is 2, 0.999 is 3."""
    return -math.log10(1 - min(max(cc, 0.0), 1 - 1e-7))


def smallness(kldiv: float) -> float:
    """Negative logarithm of a divergence: 0.1 is 1, 0.01 is 2."""
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
    """Candidates of the search: share of the MACs in int8 against a figure of the worst frame."""
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
        description=f"Share of the MACs in int8 against the worst frame's {metric.name}",
        x_label="share of the MACs in int8",
        y_label=f"{metric.name} from PyTorch's map, worst frame",
        x_ticks=[Tick(px=x.px(tick), text=f"{100 * tick:g}%") for tick in x_ticks],
        y_ticks=_metric_ticks(y, metric),
        lines=[Line(points=joined(sorted(best)), kind="front")],
        marks=[
            Mark(x=px, y=py, kind=kind, title=_candidate_title(point, metric, limit), label=label)
            for (px, py), kind, point, label in zip(places, kinds, points, labels, strict=True)
        ],
        rules=[Rule(px=y.px(metric.height(limit)), text=f"gate: {limit:g}")],
        legend=[("taken", "chosen"), ("passed", "passes"), ("failed", "fails"), ("front", "Pareto front")],
    )


def _kind(point: Mapping[str, Any], taken: bool) -> str:
    return "taken" if taken else "passed" if point["passed"] else "failed"


def _candidate_title(point: Mapping[str, Any], metric: Metric, limit: float) -> str:
    value = format_beside(point["figures"][metric.field], limit, ".5f")
    return f"{point['step']}: {point['int8_macs_share']:.1%} in int8, {metric.name} {value} at worst"


def _apart(places: Sequence[tuple[float, float]]) -> list[str]:
    """Numbers of the points, empty where a number would cover an earlier one."""
    labels: list[str] = []
    for number, (x, y) in enumerate(places):
        covered = any(
            label and abs(x - left) < 26 and abs(y - top) < 18
            for label, (left, top) in zip(labels, places[:number], strict=True)
        )
        labels.append("" if covered else str(number + 1))
    return labels


def _metric_ticks(scale: Scale, metric: Metric) -> list[Tick]:
    """Round values on the axis, at least 24 pixels apart."""
    ticks: list[Tick] = []
    for value in metric.ticks:
        height = metric.height(value)
        px = scale.px(height)
        if scale.low <= height <= scale.high and all(abs(tick.px - px) >= 24 for tick in ticks):
            ticks.append(Tick(px=px, text=f"{value:g}"))
    return ticks
