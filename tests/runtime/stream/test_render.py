"""Pictures of maps, against the blend's formula."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import UsageError
from saliency_edge.runtime.frame import Frame, SaliencyMap
from saliency_edge.runtime.stream.render import Renderer, RenderOptions, colormaps
from toy_models import noise

FRAME_HW = (72, 128)


def saliency_of(values: NDArray[np.float32], frame_hw: tuple[int, int] = FRAME_HW) -> SaliencyMap:
    frame = Frame(index=0, name="0", image_bgr=noise(frame_hw, 1), captured_s=0.0)
    return SaliencyMap(frame=frame, values=values)


def peak_at(row: int, column: int, map_hw: tuple[int, int] = (18, 32)) -> NDArray[np.float32]:
    rows, columns = np.mgrid[: map_hw[0], : map_hw[1]]
    distance2 = (rows - row) ** 2 + (columns - column) ** 2
    return np.exp(-distance2 / 8).astype(np.float32)


def colour_at(colormap: str, level: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.applyColorMap(np.array([[level]], np.uint8), colormaps()[colormap])[0, 0], np.uint8)


def test_no_saliency_leaves_the_frame_as_it_is() -> None:
    saliency = saliency_of(np.zeros((18, 32), np.float32))

    assert np.array_equal(Renderer(RenderOptions()).render(saliency), saliency.frame.image_bgr)


@pytest.mark.parametrize("level", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("opacity", [0.0, 0.6, 1.0])
def test_even_saliency_mixes_by_the_formula(level: float, opacity: float) -> None:
    saliency = saliency_of(np.full((18, 32), level, np.float32))
    alpha = opacity * level
    colour = colour_at("inferno", round(level * 255)).astype(float)
    expected = saliency.frame.image_bgr * (1 - alpha) + colour * alpha

    picture = Renderer(RenderOptions(opacity=opacity, colormap="inferno")).render(saliency)

    worst = np.abs(picture - expected).max()
    assert worst <= 2, f"worst {worst} of 255"


@pytest.mark.parametrize("map_hw", [(9, 16), (18, 32), (72, 128)])
def test_peak_lies_where_the_map_has_it(map_hw: tuple[int, int]) -> None:
    """Centres of cells and of pixels agree: cell (r, c) of h x w is pixel ((r + .5) H / h - .5, ...)."""
    row, column = map_hw[0] // 3, map_hw[1] // 4
    saliency = saliency_of(peak_at(row, column, map_hw))

    picture = Renderer(RenderOptions(opacity=1.0, colormap="bone")).render(saliency)

    change = np.abs(picture.astype(float) - saliency.frame.image_bgr).sum(axis=2)
    rows, columns = np.mgrid[: FRAME_HW[0], : FRAME_HW[1]]
    alpha = cv2.resize(peak_at(row, column, map_hw), FRAME_HW[::-1])
    expected = [(alpha * grid).sum() / alpha.sum() for grid in (rows, columns)]
    white = (picture.min(axis=2) > 240) & (change > 30)
    found = [grid[white].mean() for grid in (rows, columns)]
    assert found == pytest.approx(expected, abs=1.5)


def test_side_by_side() -> None:
    saliency = saliency_of(np.full((18, 32), 0.5, np.float32))

    picture = Renderer(RenderOptions(view="side-by-side", colormap="jet")).render(saliency)

    assert picture.shape == (72, 256, 3)
    assert np.array_equal(picture[:, :128], saliency.frame.image_bgr)
    assert np.array_equal(picture[5, 200], colour_at("jet", 128))


def test_frames_of_changing_sizes() -> None:
    renderer = Renderer(RenderOptions())
    for frame_hw in ((72, 128), (40, 30), (72, 128)):
        assert renderer.render(saliency_of(peak_at(5, 5), frame_hw)).shape == (*frame_hw, 3)


def test_values_outside_of_the_range_are_clipped() -> None:
    values = np.array([[-3.0, 4.0]], np.float32)
    renderer = Renderer(RenderOptions(opacity=1.0, colormap="bone"))

    picture = renderer.render(saliency_of(values))

    assert np.array_equal(picture[:, 0], saliency_of(values).frame.image_bgr[:, 0])
    assert (picture[:, -1] == 255).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colormap": "rainbows"}, r"unknown colour map 'rainbows'\. Choose one of .*turbo"),
        ({"opacity": 1.5}, r"opacity is 1\.5, expected 0 to 1"),
        ({"view": "upside-down"}, "unknown view 'upside-down'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RenderOptions(**options)


@pytest.mark.parametrize("name", ["turbo", "inferno", "viridis", "jet", "magma", "hot"])
def test_named_colormaps_exist(name: str) -> None:
    assert name in colormaps()
