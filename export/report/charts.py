"""The report's plots, each made of the figures of `report.json` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calib.audit import CONVERGED
from .pareto import WORST_CC, WORST_KLDIV, pareto_plot
from .plots import Box, Line, Mark, Plot, Rule, Scale, Tick, joined, nice_ticks, row_box, row_px

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
    """Draw every plot by its name; None where there are no figures for it."""
    layers, points, temporal = report["layers"], report["pareto"], report["temporal"]
    audit = (report["calibration"] or {}).get("audit", {})
    changes = audit.get("ranges", {}).get("changes", [])
    has_ranges = any(layer.get("thresholds") for layer in layers)
    return {
        "sqnr": sqnr_plot(layers) if any(layer["in_graph_db"] for layer in layers) else None,
        "ranges": ranges_plot(layers) if has_ranges else None,
        "pareto_cc": pareto_plot(points, report["gate"], WORST_CC) if points else None,
        "pareto_kldiv": pareto_plot(points, report["gate"], WORST_KLDIV) if points else None,
        "settling": settling_plot(changes) if changes else None,
        "temporal": temporal_plot(temporal) if temporal else None,
    }


def sqnr_plot(layers: Sequence[Mapping[str, Any]]) -> Plot:
    """Draw how much noise each layer's output holds, by precision."""
    box, rows = row_box(len(layers)), len(layers)
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
        x_label="SQNR of the layer's output in the whole graph, dB",
        y_label="",
        x_ticks=[Tick(px=scale.px(tick), text=f"{tick:g}") for tick in nice_ticks(scale.low, scale.high)],
        y_ticks=_row_ticks(box, [layer["node"] for layer in layers]),
        marks=marks,
        legend=[(kind, kind) for kind in kinds],
    )


def ranges_plot(layers: Sequence[Mapping[str, Any]]) -> Plot:
    """Draw where each observer would clip the activations that a layer reads, as shares of their maximum."""
    shown = [layer for layer in layers if layer["thresholds"]]
    box, rows = row_box(len(shown)), len(shown)
    scale = Scale(low=0.0, high=1.0, start_px=box.left, end_px=box.right)
    marks = [
        mark
        for row, layer in enumerate(shown)
        for mark in _observer_marks(layer, scale, row_px(box, row, rows))
    ]
    return Plot(
        box=box,
        description="Where each observer would clip the activations that a layer reads",
        x_label="threshold as a share of the largest value seen",
        y_label="",
        x_ticks=[Tick(px=scale.px(tick), text=f"{tick:.0%}") for tick in nice_ticks(0, 1)],
        y_ticks=_row_ticks(box, [layer["node"] for layer in shown]),
        marks=marks,
        legend=[*((_css(name), text) for name, text in OBSERVER_NAMES.items()), ("chosen", "chosen")],
    )


def _observer_marks(layer: Mapping[str, Any], scale: Scale, y: float) -> list[Mark]:
    """Put a mark for each observer, and a ring around the chosen threshold."""
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
    """Draw the flicker of each graph's maps from frame to frame."""
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


def settling_plot(changes: Sequence[Mapping[str, Any]]) -> Plot:
    """Draw how far scales of a part of the calibration frames lie from those of all, by observer."""
    box = Box()
    highest = max(0.02, *(change["relative"] for change in changes))
    steps = list(dict.fromkeys(change["step"] for change in changes))
    x = Scale(low=0, high=max(len(steps) - 1, 1), start_px=box.left + 20, end_px=box.right - 20)
    y = Scale(low=0.0, high=1.08 * highest, start_px=box.bottom, end_px=box.top)
    columns = {step: x.px(place) for place, step in enumerate(steps)}
    lines = [
        Line(points=joined(_settling(changes, name, columns, y)), kind=_css(name)) for name in OBSERVER_NAMES
    ]
    return Plot(
        box=box,
        description="How far scales of a part of the calibration frames lie from those of all",
        x_label="frames used",
        y_label="largest change of a scale against all frames",
        x_ticks=[Tick(px=px, text=_frames_text(changes, step)) for step, px in columns.items()],
        y_ticks=[Tick(px=y.px(tick), text=f"{100 * tick:g}%") for tick in nice_ticks(0, y.high, 5)],
        lines=lines,
        rules=[Rule(px=y.px(CONVERGED))],
        legend=[*((_css(name), text) for name, text in OBSERVER_NAMES.items()), ("limit", "settled")],
    )


def _settling(
    changes: Sequence[Mapping[str, Any]], observer: str, columns: Mapping[str, float], y: Scale
) -> list[tuple[float, float]]:
    """Give the point of each step; of several parts of one size that which lies farthest counts."""
    own = [change for change in changes if change["observer"] == observer]
    return [
        (px, y.px(max(change["relative"] for change in own if change["step"] == step)))
        for step, px in columns.items()
    ]


def _frames_text(changes: Sequence[Mapping[str, Any]], step: str) -> str:
    """Give the number of frames of a step's parts, which may differ a little."""
    counts = sorted({change["frames"] for change in changes if change["step"] == step})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _row_ticks(box: Box, names: Sequence[str]) -> list[Tick]:
    return [Tick(px=row_px(box, row, len(names)), text=name) for row, name in enumerate(names)]


def _css(observer: str) -> str:
    """Give an observer's class in the style sheet."""
    return observer.replace(".", "-").replace("_", "-")
