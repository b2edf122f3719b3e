"""Primitives of the charts, which a template draws as SVG: scales, ticks, lines, marks. Lengths are in
pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)
_CHARACTER_PX = 13.0
"""Width of a digit at the largest text of report.css (20 px, on phones) in a wide font."""
_LONGEST_NAME = 20  # characters; what is left out of a longer one is in the tooltips


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear scale from values to pixels.

    Attributes:
        low: the value at `start_px`.
        high: the value at `end_px`.
        start_px: start of the axis; greater than `end_px` for an axis that points up.
        end_px: end of the axis.
    """

    low: float
    high: float
    start_px: float
    end_px: float

    def px(self, value: float) -> float:
        """Position of a value, to a tenth of a pixel; values beyond the axis are clipped to its ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start_px + share * (self.end_px - self.start_px), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A position on an axis in pixels, and its label."""

    px: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point.

    Attributes:
        x: in pixels.
        y: in pixels.
        kind: its CSS class, which sets shape and colour.
        title: its tooltip.
        label: text beside it.
    """

    x: float
    y: float
    kind: str
    title: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A polyline through points, `x,y x,y ...` in pixels, and its CSS class."""

    points: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit drawn across the plot at a height in pixels, and its label."""

    px: float
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Size of the plot, and the bounds of its axes."""

    width: int = 640
    height: int = 320
    left: int = 64
    right: int = 604
    top: int = 16
    bottom: int = 270


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One chart.

    Attributes:
        box: its size and axes.
        description: text alternative.
        x_label: title of the x axis.
        y_label: title of the y axis; empty where the ticks are names.
        x_ticks: of the x axis.
        y_ticks: of the y axis.
        lines: polylines, drawn under the marks.
        marks: points.
        rules: limits.
        legend: CSS class and name of each kind of point or line.
    """

    box: Box
    description: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[Line] = ()
    marks: Sequence[Mark] = ()
    rules: Sequence[Rule] = ()
    legend: Sequence[tuple[str, str]] = ()


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round values from `low` to `high`, about `count` of them."""
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(step * magnitude for step in _STEPS if step * magnitude >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def text_width_px(text: str) -> float:
    """Upper bound of the width of a label, whatever the font and the width of the page."""
    return len(text) * _CHARACTER_PX


def row_box(names: Sequence[str]) -> Box:
    """Box of a plot that has a row for each name, with room for the names on the left."""
    top, row_px = 12, 24
    bottom = top + len(names) * row_px
    left = max(128, 18 + math.ceil(max(text_width_px(_shortened(name)) for name in names)))
    return Box(height=bottom + 50, left=left, top=top, bottom=bottom)


def row_px(box: Box, row: int, rows: int) -> float:
    """Height of the middle of a row."""
    return round(box.top + (row + 0.5) * (box.bottom - box.top) / rows, 1)


def row_ticks(box: Box, names: Sequence[str]) -> list[Tick]:
    """Ticks that name the rows; of a long name its end, which tells the layers of a block apart."""
    return [Tick(px=row_px(box, row, len(names)), text=_shortened(name)) for row, name in enumerate(names)]


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def joined(points: Sequence[tuple[float, float]]) -> str:
    """Points as SVG writes them."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)
