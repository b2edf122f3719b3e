"""The report's plots, each made of the figures of `report.json` alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .plots import Box, Line, Mark, Plot, Rule, Scale, Tick, joined, nice_ticks, row_box, row_px

_SQNR_SHOWN_DB = 100.0
_CC_TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 0.99999, 0.999999)
_CC_FLOOR, _CC_CEILING = 0.0, 1 - 1e-7
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
    layers, temporal = report["layers"], report["temporal"]
    has_ranges = any(layer.get("thresholds") for layer in layers)
    return {
        "sqnr": sqnr_plot(layers) if any(layer["in_graph_db"] for layer in layers) else None,
        "ranges": ranges_plot(layers) if has_ranges else None,
        "pareto": pareto_plot(report["pareto"], report["gate"]) if report["pareto"] else None,
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


def pareto_plot(points: Sequence[Mapping[str, Any]], gate: Mapping[str, Any]) -> Plot:
    """Draw the sets of precisions that were tried: share of int8 against the worst frame's correlation."""
    box = Box(left=76)
    shares = [point["int8_macs_share"] for point in points]
    limit = gate["limits"]["cc_worst"]
    worst = [point["figures"]["cc_worst"] for point in points]
    margin = max(0.02, 0.08 * (max(shares) - min(shares)))
    x_scale = Scale(low=min(shares) - margin, high=max(shares) + margin, start_px=box.left, end_px=box.right)
    nines = [_nines(value) for value in (*worst, limit)]
    y_scale = Scale(low=min(nines) - 0.2, high=max(nines) + 0.2, start_px=box.bottom, end_px=box.top)
    marks = [_set_mark(point, number, x_scale, y_scale) for number, point in enumerate(points, 1)]
    front = sorted(_front(points), key=lambda point: float(point["int8_macs_share"]))
    line = [
        (x_scale.px(point["int8_macs_share"]), y_scale.px(_nines(point["figures"]["cc_worst"])))
        for point in front
    ]
    return Plot(
        box=box,
        description="Share of the multiplications in int8 against the worst frame's correlation",
        x_label="share of the multiplications in int8",
        y_label="CC with PyTorch, worst frame",
        x_ticks=[
            Tick(px=x_scale.px(tick), text=f"{100 * tick:g}%")
            for tick in nice_ticks(x_scale.low, min(1.0, x_scale.high), 5)
        ],
        y_ticks=_cc_ticks(y_scale),
        lines=[Line(points=joined(line), kind="front")],
        marks=marks,
        rules=[Rule(px=y_scale.px(_nines(limit)), text=f"gate: {limit:g}")],
        legend=[("passed", "passes the gate"), ("failed", "does not"), ("front", "Pareto front")],
    )


def _set_mark(point: Mapping[str, Any], number: int, x_scale: Scale, y_scale: Scale) -> Mark:
    share, worst = point["int8_macs_share"], point["figures"]["cc_worst"]
    return Mark(
        x=x_scale.px(share),
        y=y_scale.px(_nines(worst)),
        kind="passed" if point["passed"] else "failed",
        title=f"{point['step']}: {share:.1%} in int8, CC {worst:.5f} at worst",
        label=str(number),
    )


def _front(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Keep the sets that no other one beats in both figures."""
    return [point for point in points if not any(_beats(other, point) for other in points)]


def _beats(other: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    first = (other["int8_macs_share"], other["figures"]["cc_worst"])
    second = (point["int8_macs_share"], point["figures"]["cc_worst"])
    return first != second and all(a >= b for a, b in zip(first, second, strict=True))


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


def _row_ticks(box: Box, names: Sequence[str]) -> list[Tick]:
    return [Tick(px=row_px(box, row, len(names)), text=name) for row, name in enumerate(names)]


def _nines(cc: float) -> float:
    """Spread correlations near 1: 0.9 is 1, 0.99 is 2, 0.999 is 3."""
    return -math.log10(1 - min(max(cc, _CC_FLOOR), _CC_CEILING))


def _cc_ticks(scale: Scale) -> list[Tick]:
    """Give correlations that are easily read, some way apart."""
    ticks: list[Tick] = []
    for value in _CC_TICKS:
        px, inside = scale.px(_nines(value)), scale.low <= _nines(value) <= scale.high
        if inside and (not ticks or abs(ticks[-1].px - px) >= 22):
            ticks.append(Tick(px=px, text=f"{value:g}"))
    return ticks


def _css(observer: str) -> str:
    """Give an observer's class in the style sheet."""
    return observer.replace(".", "-").replace("_", "-")
