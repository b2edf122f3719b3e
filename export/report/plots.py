"""Plots as plain geometry, which a template draws as SVG: scales, ticks, lines and marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear scale from values to pixels.

    Attributes:
        low: the value at `start_px`.
        high: the value at `end_px`.
        start_px: where the axis begins; beyond `end_px` for an axis that points up.
        end_px: where it ends.
    """

    low: float
    high: float
    start_px: float
    end_px: float

    def px(self, value: float) -> float:
        """Give a value's place, to a tenth of a pixel; values beyond the axis stop at its end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start_px + share * (self.end_px - self.start_px), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis, in pixels, and what stands there."""

    px: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point.

    Attributes:
        x: in pixels.
        y: in pixels.
        kind: its class in the style sheet, which gives shape and colour.
        title: what it says when pointed at.
        label: what stands beside it.
    """

    x: float
    y: float
    kind: str
    title: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through points, `x,y x,y ...` in pixels, and its class."""

    points: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit drawn across the plot, at a place on the y axis in pixels, and what it is."""

    px: float
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The plot's size and the frame that its points lie in, all in pixels."""

    width: int = 640
    height: int = 320
    left: int = 64
    right: int = 612
    top: int = 16
    bottom: int = 270


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """All that a template draws.

    Attributes:
        box: its size.
        description: for those who cannot see it.
        x_label: under the x axis.
        y_label: over the y axis; empty where the ticks say enough.
        x_ticks: of the x axis.
        y_ticks: of the y axis.
        lines: under the marks.
        marks: points.
        rules: limits.
        legend: class and name of each kind of point or line.
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
    """Give round values from `low` to `high`, about `count` of them."""
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(step * magnitude for step in _STEPS if step * magnitude >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def row_box(rows: int) -> Box:
    """Make room for a row of points for each of several names on the left."""
    top, row_px = 12, 24
    bottom = top + rows * row_px
    return Box(height=bottom + 50, left=128, top=top, bottom=bottom)


def row_px(box: Box, row: int, rows: int) -> float:
    """Give the height of a row's middle."""
    return round(box.top + (row + 0.5) * (box.bottom - box.top) / rows, 1)


def joined(points: Sequence[tuple[float, float]]) -> str:
    """Write points as SVG does."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)
