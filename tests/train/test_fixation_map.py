"""Fixation maps against the Gaussian's formula and, where it is installed, scipy."""

from __future__ import annotations

import numpy as np
import pytest

from saliency_edge.train.datasets.sample import fixation_counts, fixation_map, sigma_px_of

SIZE_HW = (90, 120)


def test_counts_are_in_the_pixel_of_the_floor() -> None:
    xy = np.array([[0.0, 0.0], [3.99, 1.0], [3.0, 1.99], [119.9, 89.9], [-0.1, 5], [120, 5], [5, 90]])

    counts = fixation_counts(xy, SIZE_HW)

    assert {(int(x), int(y)): counts[y, x] for y, x in np.argwhere(counts)} == {
        (0, 0): 1,
        (3, 1): 2,
        (119, 89): 1,
    }
    assert counts.dtype == np.float32


@pytest.mark.parametrize("sigma_px", [1.5, 4.0, 9.7])
def test_one_fixation_is_a_gaussian(sigma_px: float) -> None:
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    distance = np.hypot(x - 60, y - 44)
    expected = np.exp(-(distance**2) / (2 * sigma_px**2)) / (2 * np.pi * sigma_px**2)

    found = fixation_map(np.array([[60.3, 44.8]]), SIZE_HW, sigma_px)

    difference = np.abs(found - expected).max() / expected.max()
    assert difference < 1e-3, f"worst {difference:.2e} of the peak"


@pytest.mark.parametrize("sigma_px", [0.8, 5.0, 19.0])
def test_map_is_scipy_s(sigma_px: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="needs pip install 'saliency-edge[matlab]'")
    xy = np.random.default_rng(0).uniform(0, SIZE_HW[::-1], (60, 2))
    counts = fixation_counts(xy, SIZE_HW).astype(float)
    expected = ndimage.gaussian_filter(counts, sigma_px, mode="constant", truncate=4.0)

    found = fixation_map(xy, SIZE_HW, sigma_px)

    difference = np.abs(found - expected).max() / expected.max()
    assert difference < 1e-5, f"worst {difference:.2e} of the peak"


def test_what_leaves_the_stimulus_is_lost() -> None:
    corner, middle = np.array([[0.0, 0.0]]), np.array([[60.0, 45.0]])

    assert fixation_map(middle, SIZE_HW, 5.0).sum() == pytest.approx(1, abs=1e-3)
    assert fixation_map(corner, SIZE_HW, 5.0).sum() == pytest.approx((0.5 + 0.5 * 0.0797) ** 2, abs=1e-3)


def test_no_fixations_give_an_empty_map() -> None:
    assert not fixation_map(np.empty((0, 2)), SIZE_HW, 5.0).any()


def test_sigma_0_leaves_the_counts() -> None:
    xy = np.array([[3.0, 4.0], [3.0, 4.0], [70.0, 8.0]])

    np.testing.assert_array_equal(fixation_map(xy, SIZE_HW, 0), fixation_counts(xy, SIZE_HW))


def test_degrees() -> None:
    assert sigma_px_of(1.5, 24.0) == 36.0
