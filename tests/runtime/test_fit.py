"""Where a frame lies in the network's input, and where the map lies on the frame."""

from __future__ import annotations

import numpy as np
import pytest

from saliency_edge.runtime.contract import Fit
from saliency_edge.runtime.fit import FULL_WINDOW, Window, crop_map, fit_frame, window_of

SIZES = [
    ((720, 1280), (480, 640)),
    ((720, 1280), (240, 320)),
    ((431, 768), (480, 640)),
    ((1920, 1080), (480, 640)),
]


def test_stretch_fills_the_input() -> None:
    frame = np.full((10, 90, 3), 7, np.uint8)

    assert window_of((10, 90), (24, 32), "stretch") == FULL_WINDOW
    assert np.array_equal(fit_frame(frame, (24, 32), "stretch"), np.full((24, 32, 3), 7, np.uint8))


def test_pad_keeps_the_aspect_and_centres() -> None:
    frame = np.full((10, 40, 3), 7, np.uint8)
    expected = np.zeros((24, 32, 3), np.uint8)
    expected[8:16] = 7  # 10 x 40 in 24 x 32 is 8 x 32

    assert window_of((10, 40), (24, 32), "pad") == Window(8 / 24, 0, 16 / 24, 1)
    assert np.array_equal(fit_frame(frame, (24, 32), "pad"), expected)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_frame_of_the_networks_size_is_not_copied(fit: Fit) -> None:
    frame = np.zeros((24, 32, 3), np.uint8)

    assert fit_frame(frame, (24, 32), fit) is frame


def test_crop_on_whole_cells_is_a_view() -> None:
    saliency = np.arange(60 * 80, dtype=np.float32).reshape(60, 80)

    cropped = crop_map(saliency, Window(0.1, 0.25, 0.9, 0.75))

    assert np.array_equal(cropped, saliency[6:54, 20:60])
    assert np.shares_memory(cropped, saliency)


@pytest.mark.parametrize(("frame_hw", "size_hw"), SIZES)
def test_crop_shifts_nothing(frame_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    """A map that counts its own cells must, cropped, count those under the frame: to 0.0001 of a cell."""
    map_hw = (size_hw[0] // 8, size_hw[1] // 8)
    window = window_of(frame_hw, size_hw, "pad")
    rows, columns = (grid.astype(np.float32) for grid in np.mgrid[: map_hw[0], : map_hw[1]])

    for ramp, cells, first, last in (
        (crop_map(rows, window)[:, 0], map_hw[0], window.top, window.bottom),
        (crop_map(columns, window)[0], map_hw[1], window.left, window.right),
    ):
        centres = first + (np.arange(len(ramp)) + 0.5) / len(ramp) * (last - first)
        expected = np.clip(centres * cells - 0.5, 0, cells - 1)
        np.testing.assert_allclose(ramp, expected, atol=1e-4)


def test_crop_of_a_sliver_keeps_a_cell() -> None:
    window = window_of((1000, 3), (480, 640), "pad")

    assert crop_map(np.ones((60, 80), np.float32), window).shape == (60, 1)
