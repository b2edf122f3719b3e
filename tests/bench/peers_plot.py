"""Bars with intervals as SVG, without a plotting package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from saliency_edge.runtime.bench.statistics import Interval

WIDTH, LABELS, MARGIN, ROW, BAR = 860, 290, 20, 30, 16
UNIT_END = WIDTH - 130  # where the longest bar ends; its figure stands behind it
COLOURS = ("#1f6f8b", "#b9c4cc")  # ours, others


@dataclass(frozen=True, slots=True)
class Bar:
    """One peer: its name, ms a frame, and its time in units of the first one's."""

    peer: str
    wall_ms: float
    ratio: Interval


def svg_of(tables: Mapping[str, Sequence[Bar]]) -> str:
    """Draw one group of bars for each table, the first bar of each in colour."""
    longest = max(bar.ratio.high for bars in tables.values() for bar in bars)
    scale = (UNIT_END - LABELS) / longest
    parts: list[str] = []
    top = MARGIN
    for title, bars in tables.items():
        parts.append(
            _text(MARGIN, top + 16, f"{title}: time in units of the first row", "font-weight='bold'")
        )
        top += ROW
        for number, bar in enumerate(bars):
            parts += _bar(bar, top, scale, COLOURS[min(number, 1)])
            top += ROW
        top += MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" font-family="sans-serif"'
    ground = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([f'{head} font-size="13">', ground, *parts, "</svg>"]) + "\n"


def _bar(bar: Bar, top: int, scale: float, colour: str) -> list[str]:
    middle = top + BAR // 2
    low, end, high = (LABELS + value * scale for value in (bar.ratio.low, bar.ratio.estimate, bar.ratio.high))
    figure = f"{bar.ratio.estimate:.2f}  ({bar.wall_ms:.0f} ms)"
    return [
        _text(LABELS - 8, middle + 5, bar.peer, "text-anchor='end'"),
        f'<rect x="{LABELS}" y="{top}" width="{end - LABELS:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#222222" stroke-width="2"/>',
        _text(int(high) + 8, middle + 5, figure),
    ]


def _text(x: int, y: int, text: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>'
