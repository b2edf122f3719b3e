"""QP offsets, against the formula and against what the bits of a frame would be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import UsageError
from saliency_edge.runtime.frame import Frame, SaliencyMap
from saliency_edge.runtime.stream.sinks.qp_map import QpMapOptions, coarse_offsets, qp_offsets


def map_of(values: NDArray[np.floating], frame_hw: tuple[int, int]) -> SaliencyMap:
    frame = Frame(index=0, name="0", image_bgr=np.zeros((*frame_hw, 3), np.uint8), captured_s=0.0)
    return SaliencyMap(frame=frame, values=values.astype(np.float32))


@pytest.mark.parametrize("strength", [3.0, 10.0, 20.0])
def test_the_difference_is_the_strength(strength: float) -> None:
    values = np.zeros((6, 8))
    values[2, 3] = 1.0

    offsets = qp_offsets(map_of(values, (96, 128)), QpMapOptions(strength=strength))

    assert offsets.shape == (6, 8)
    assert offsets.dtype == np.int8
    assert offsets.max() - offsets.min() == strength
    assert np.unravel_index(offsets.argmin(), offsets.shape) == (2, 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_bits_of_the_frame_stay(seed: int) -> None:
    values = np.random.default_rng(seed).random((45, 80)) ** (1 + seed)

    offsets = qp_offsets(map_of(values, (720, 1280)), QpMapOptions(strength=12))

    bits = np.exp2(-offsets / 6.0).mean()
    assert bits == pytest.approx(1.0, abs=0.02), "rounding to whole QP is all that is left"


def test_an_even_map_changes_nothing() -> None:
    for level in (0.0, 0.4, 1.0):
        assert not qp_offsets(map_of(np.full((6, 8), level), (96, 128)), QpMapOptions()).any()


def test_blocks_lie_on_the_frame_not_on_the_map() -> None:
    """1080 rows are 67.5 blocks: row r of blocks is centred on pixel 16 r + 8, also where they overhang."""
    ramp = np.linspace(0, 1, 1080)[:, np.newaxis].repeat(40, axis=1)

    offsets = qp_offsets(map_of(ramp, (1080, 1920)), QpMapOptions(strength=24))

    centres = np.minimum((np.arange(68) * 16 + 8), 1079.5) / 1080
    expected = 6 * np.log2(np.exp2(4 * centres).mean()) - 24 * centres
    assert offsets.shape == (68, 120)
    worst = np.abs(offsets - expected[:, np.newaxis]).max()
    assert worst < 0.55, f"worst {worst} QP"


def test_spans_average_time_and_four_blocks() -> None:
    one, other = np.zeros((3, 5), np.int8), np.zeros((3, 5), np.int8)
    one[:2, :2], other[:2, :2] = -8, -2
    one[2, 4] = other[2, 4] = 5

    coarse = coarse_offsets([one, other])

    assert coarse.tolist() == [[-4, -4, 0, 0, 0], [-4, -4, 0, 0, 0], [0, 0, 0, 0, 4]]


@pytest.mark.parametrize("strength", [0.0, -1.0, 25.0, float("nan")])
def test_strengths_that_cannot_be_are_refused(strength: float) -> None:
    with pytest.raises(UsageError, match="expected above 0 to 24"):
        QpMapOptions(strength=strength)
