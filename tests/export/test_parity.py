"""The comparison with PyTorch: its figures by hand, its verdict, and that the networks pass it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.export.check.edge_cases import edge_case_frames
from saliency_edge.export.ort_session import ort_maps
from saliency_edge.export.parity import Agreement, Parity, agreement, compare, peak_shift, reference_maps
from saliency_edge.export.to_onnx import contract_of, onnx_from_checkpoint
from saliency_edge.runtime.errors import ParityError
from saliency_edge.runtime.parity import TOLERANCES
from saliency_edge.train.networks import config_of
from seeded_networks import SMALL_HW, exported, frames_for, seeded_checkpoint, torch_maps
from tolerances import MAX_ABS, MIN_CC

FloatMap = NDArray[np.float32]


def blob(row: int, column: int, size_hw: tuple[int, int] = (24, 32)) -> FloatMap:
    """Make a map with one round peak."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8).astype(np.float32)


def test_the_products_table_is_no_looser_than_the_tests() -> None:
    assert set(TOLERANCES) == set(MAX_ABS) == set(MIN_CC)
    for label, tolerance in TOLERANCES.items():
        assert tolerance.max_abs <= MAX_ABS[label]
        assert tolerance.min_cc >= MIN_CC[label]


def test_figures_by_hand() -> None:
    reference = np.array([[0.0, 0.5], [0.5, 1.0]], np.float32)
    found = np.array([[0.25, 0.5], [0.5, 1.0]], np.float32)

    figures = agreement(found, reference)

    assert figures.max_abs == 0.25
    assert figures.mean_abs == 0.0625
    assert figures.sqnr_db == pytest.approx(10 * math.log10(1.5 / 0.0625))
    assert figures.cc == pytest.approx(np.corrcoef(found.ravel(), reference.ravel())[0, 1])
    expected = 0.25 * math.log(0.25 / (0.5 / 2.25)) * 2 + 0.5 * math.log(0.5 / (1 / 2.25))
    assert figures.kldiv == pytest.approx(expected, rel=1e-6)
    assert figures.peak_shift_cells == 0


def test_equal_maps_agree_in_every_figure() -> None:
    for reference in (blob(3, 4), np.zeros((4, 5), np.float32), np.ones((4, 5), np.float32)):
        figures = agreement(reference.copy(), reference)
        assert (figures.max_abs, figures.sqnr_db, figures.peak_shift_cells) == (0, 200, 0)
        assert figures.cc == pytest.approx(1, abs=1e-12)
        assert figures.kldiv == pytest.approx(0, abs=1e-12)


def test_a_map_that_has_collapsed_does_not_agree() -> None:
    figures = agreement(np.ones((24, 32), np.float32), blob(20, 30))

    assert figures.cc == 0
    assert figures.peak_shift_cells == pytest.approx(math.hypot(20, 30), abs=1)


def test_peak_shift_is_the_distance_between_peaks() -> None:
    assert peak_shift(blob(13, 16), blob(10, 12)) == pytest.approx(5)
    assert peak_shift(blob(10, 12), blob(10, 12)) == 0


def test_peak_shift_takes_plateaus_and_twins_for_one_peak() -> None:
    twins = np.maximum(blob(5, 5), blob(20, 25))
    fainter = np.maximum(blob(5, 5) * np.float32(0.999), blob(20, 25))
    plateau = np.zeros((24, 32), np.float32)
    plateau[4:9, 6:20] = 1
    tilted = plateau * np.linspace(1, 0.999, 32, dtype=np.float32)

    assert peak_shift(fainter, twins) == 0
    assert peak_shift(np.fliplr(tilted), np.fliplr(plateau)) == 0
    assert peak_shift(blob(20, 25), blob(5, 5)) > 20


def test_verdict_names_the_worst_frame() -> None:
    reference = np.stack([blob(5, 5), blob(9, 9), blob(12, 12)])
    found = reference.copy()
    found[1, 0, 0] += 0.005
    found[2, 0, 0] += 0.02

    with pytest.raises(
        ParityError, match=r"fp16 differs from PyTorch on 2 of 3 frames, most on c: max abs 0\.02"
    ):
        compare("fp16", "abc", found, reference).check()
    compare("fp16", "a", found[:1], reference[:1]).check()


def test_correlation_counts_too() -> None:
    """Flat maps with different ripples: the difference is small, yet it is another map."""
    rng = np.random.default_rng(0)
    first, second = (0.5 + 1e-3 * rng.random((24, 32)) for _ in range(2))

    with pytest.raises(ParityError, match="CC"):
        compare("fp16", "a", first[None].astype(np.float32), second[None].astype(np.float32)).check()


def test_nan_is_refused_at_once() -> None:
    found = blob(5, 5)[None]
    found[0, 3, 3] = np.nan

    with pytest.raises(ParityError, match="fp16_rounded gives NaN on a"):
        compare("fp16", "a", found, blob(5, 5)[None], rounded=True)


def test_worst_is_taken_figure_by_figure() -> None:
    good = Agreement(max_abs=0.1, mean_abs=0.01, sqnr_db=60, cc=0.9, kldiv=0.2, peak_shift_cells=0)
    bad = Agreement(max_abs=0.2, mean_abs=0.001, sqnr_db=50, cc=0.99, kldiv=0.1, peak_shift_cells=3)
    worst = Parity(precision="fp32", frames={"good": good, "bad": bad}).worst()

    assert worst == Agreement(max_abs=0.2, mean_abs=0.01, sqnr_db=50, cc=0.9, kldiv=0.2, peak_shift_cells=3)


@pytest.mark.parametrize("name", sorted(SMALL_HW))
def test_fp32_agrees_on_photographs_and_on_edge_case_frames(name: str) -> None:
    checkpoint = seeded_checkpoint(name)
    frames = np.concatenate(
        [frames_for(checkpoint).pixels, edge_case_frames(checkpoint.config.size_hw).pixels]
    )
    names = [str(number) for number in range(len(frames))]
    maps = ort_maps(exported(name), contract_of(checkpoint, (1, 8)), frames)

    compare("fp32", names, maps, torch_maps(checkpoint, frames)).check()
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_reference_maps_are_pytorchs() -> None:
    checkpoint = seeded_checkpoint("deep_half")
    pixels = frames_for(checkpoint).pixels

    np.testing.assert_allclose(
        reference_maps(checkpoint, pixels), torch_maps(checkpoint, pixels), rtol=0, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL_HW))
def test_fp32_agrees_at_the_networks_own_size(name: str) -> None:
    checkpoint = seeded_checkpoint(name, size_hw=config_of(name).size_hw)
    frames = frames_for(checkpoint, step=6)
    maps = ort_maps(onnx_from_checkpoint(checkpoint), contract_of(checkpoint, (1, 1)), frames.pixels)

    compare("fp32", frames.names, maps, torch_maps(checkpoint, frames.pixels)).check()


@pytest.mark.parametrize("name", ["deep_half", "mlnet_small"])
def test_opencv_reads_the_fp32_graph(name: str) -> None:
    """A fourth implementation, which takes floats: the graph behind the cast."""
    checkpoint = seeded_checkpoint(name)
    model = exported(name, (1, 1))
    frame = frames_for(checkpoint).pixels[:1]
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    network.setInput(frame)

    np.testing.assert_allclose(network.forward()[0], torch_maps(checkpoint, frame)[0], rtol=0, atol=1e-4)
