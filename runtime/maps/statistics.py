"""A map in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..video.frame import SaliencyMap


@dataclass(frozen=True, slots=True, kw_only=True)
class MapStatistics:
    """What a map says, in a few numbers. Pixels are the frame's; its left upper corner is (0, 0).

    Attributes:
        peak: largest value, 0 to 1.
        peak_xy_px: centre of the cell that has it, the first one in reading order where several do.
        mean: of all cells, 0 to 1.
        entropy_bits: -sum(p log2 p) of the map p that is scaled to sum 1; 0 where all lies in one cell, log2
            of the number of cells where nothing stands out. That is the value of a map of zeros too.
        centroid_xy_px: centre of mass; the frame's centre for a map of zeros.
    """

    peak: float
    peak_xy_px: tuple[float, float]
    mean: float
    entropy_bits: float
    centroid_xy_px: tuple[float, float]


def statistics_of(saliency: SaliencyMap) -> MapStatistics:
    """Compute a map's statistics; its values are 0 to 1, and finite."""
    values = saliency.values.astype(np.float64)
    rows, columns = values.shape
    total = values.sum()
    density = values / total if total > 0 else np.full_like(values, 1 / values.size)
    peak_row, peak_column = divmod(int(values.argmax()), columns)
    mean_row = float(density.sum(axis=1) @ np.arange(rows))
    mean_column = float(density.sum(axis=0) @ np.arange(columns))
    occupied = density[density > 0]
    return MapStatistics(
        peak=float(values[peak_row, peak_column]),
        peak_xy_px=_pixel_of(saliency, peak_row, peak_column),
        mean=float(values.mean()),
        entropy_bits=float(-(occupied * np.log2(occupied)).sum()) + 0.0,
        centroid_xy_px=_pixel_of(saliency, mean_row, mean_column),
    )


def _pixel_of(saliency: SaliencyMap, row: float, column: float) -> tuple[float, float]:
    """Give the place in the frame, (x, y) in pixels, of a place in the map in cells; 0 is a cell's centre."""
    (height, width), (rows, columns) = saliency.frame.size_hw, saliency.values.shape
    return (column + 0.5) * width / columns, (row + 0.5) * height / rows
