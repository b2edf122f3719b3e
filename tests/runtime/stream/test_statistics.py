"""Statistics, against values computed by hand and by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.frame import Frame, SaliencyMap
from saliency_edge.runtime.stream.sinks.jsonl import statistics_of


def map_of(values: NDArray[np.float32], frame_hw: tuple[int, int] = (60, 80)) -> SaliencyMap:
    frame = Frame(index=0, name="0", image_bgr=np.zeros((*frame_hw, 3), np.uint8), captured_s=0.0)
    return SaliencyMap(frame=frame, values=values)


def test_one_cell_has_all() -> None:
    values = np.zeros((6, 8), np.float32)
    values[1, 5] = 0.5

    found = statistics_of(map_of(values))

    assert found.peak == 0.5
    assert found.peak_xy_px == (55.0, 15.0)
    assert found.centroid_xy_px == pytest.approx((55.0, 15.0))
    assert found.entropy_bits == 0.0
    assert found.mean == pytest.approx(0.5 / 48)


def test_two_cells_share() -> None:
    values = np.zeros((6, 8), np.float32)
    values[0, 0], values[0, 7] = 0.75, 0.25

    found = statistics_of(map_of(values))

    assert found.centroid_xy_px == pytest.approx((0.75 * 5 + 0.25 * 75, 5.0))
    assert found.entropy_bits == pytest.approx(0.75 * math.log2(4 / 3) + 0.25 * 2)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_nothing_stands_out(level: float) -> None:
    found = statistics_of(map_of(np.full((6, 8), level, np.float32)))

    assert found.entropy_bits == pytest.approx(math.log2(48))
    assert found.centroid_xy_px == pytest.approx((40.0, 30.0))
    assert found.peak_xy_px == (5.0, 5.0)
    assert found.mean == pytest.approx(level)


def test_a_random_map_agrees_with_scipy() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    ndimage = pytest.importorskip("scipy.ndimage")
    values = np.random.default_rng(1).random((60, 80)).astype(np.float32)

    found = statistics_of(map_of(values, (60, 80)))

    row, column = ndimage.center_of_mass(values.astype(np.float64))
    assert found.entropy_bits == pytest.approx(scipy_stats.entropy(values.astype(np.float64).ravel(), base=2))
    assert found.centroid_xy_px == pytest.approx((column + 0.5, row + 0.5))
