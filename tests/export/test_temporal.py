"""Flicker and peak jumps against values computed by hand, on planted shimmer, and on clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.calib.frames import shipped_clip
from saliency_edge.export.temporal import CLIP_FRAMES, ClipMaps, compare_movement, read_clip
from saliency_edge.runtime.errors import InputError
from toy_models import read_clip as decoded
from toy_models import save_clip, toy_contract, toy_map, toy_model

HW = (6, 8)


def peak_at(row: int, column: int) -> NDArray[np.float32]:
    saliency = np.zeros(HW, np.float32)
    saliency[row, column] = 1.0
    return saliency


def drifting(count: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Smooth maps that move slowly, in 0.2 to 0.8."""
    start, end = np.random.default_rng(seed).uniform(0.2, 0.8, (2, *HW))
    shares = np.linspace(0, 1, count)[:, np.newaxis, np.newaxis]
    return np.asarray(start + shares * (end - start), np.float32)


def test_figures_are_those_computed_by_hand() -> None:
    fp32 = np.stack([peak_at(0, 0), peak_at(0, 1), peak_at(4, 4)])
    int8 = np.stack([peak_at(0, 0), peak_at(3, 4), peak_at(3, 4)])

    found = compare_movement("clip.mp4", {"fp32": fp32, "int8": int8})

    cells = HW[0] * HW[1]
    assert found.movements["fp32"].flicker == pytest.approx((2 / cells, 2 / cells))
    assert found.movements["int8"].flicker == pytest.approx((2 / cells, 0))
    assert found.movements["fp32"].peak_jump_cells == pytest.approx((1, 5))
    assert found.movements["int8"].peak_jump_cells == pytest.approx((5, 0))
    # Steps: fp32 (0,0)->(0,1), int8 (0,0)->(3,4): two cells differ. fp32 (0,1)->(4,4), int8 still: two too.
    assert found.movements["int8"].added == pytest.approx((2 / cells, 2 / cells))
    assert found.flicker_ratio("int8") == pytest.approx(0.5)
    assert found.peak_jump_ratio("int8") == pytest.approx(5 / 6)
    assert found.added_share("int8") == pytest.approx(1.0)
    assert found.frames == 3


def test_equal_maps_move_alike() -> None:
    found = compare_movement("clip.mp4", {"fp32": drifting(), "fp16": drifting()})

    assert found.flicker_ratio("fp16") == found.peak_jump_ratio("fp16") == 1.0
    assert found.added_share("fp16") == 0.0


def test_a_constant_error_is_no_shimmer() -> None:
    fp32 = drifting()

    found = compare_movement("clip.mp4", {"fp32": fp32, "int8": fp32 + np.float32(0.1)})

    assert found.flicker_ratio("int8") == pytest.approx(1, abs=1e-5)
    assert found.added_share("int8") < 1e-4


def test_planted_shimmer_is_caught_that_still_images_do_not_show() -> None:
    fp32 = drifting()
    amplitude = np.abs(np.diff(fp32, axis=0)).mean()
    signs = np.where(np.arange(len(fp32)) % 2, 1, -1)[:, np.newaxis, np.newaxis]
    int8 = np.asarray(fp32 + amplitude * signs, np.float32)
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(fp32, int8, strict=True)]

    found = compare_movement("clip.mp4", {"fp32": fp32, "int8": int8})

    assert min(correlations) > 0.999999
    assert found.shimmers("int8")
    assert not found.shimmers("fp32")
    # Each cell's step is s -+ 2 a: the mean of |s + 2 a| and |s - 2 a| is max(|s|, 2 a).
    steps = np.abs(np.diff(fp32.astype(np.float64), axis=0))
    assert found.flicker_ratio("int8") == pytest.approx(
        np.maximum(steps, 2 * amplitude).mean() / steps.mean(), 0.05
    )
    assert found.added_share("int8") == pytest.approx(2, rel=1e-3)


def test_a_plateau_that_flips_within_a_level_is_no_jump() -> None:
    flat = np.full((2, *HW), 0.5, np.float32)
    flat[1, 3, 3] += 1 / 512

    found = compare_movement("clip.mp4", {"fp32": flat})

    assert found.movements["fp32"].peak_jump_cells == (0.0,)


def test_a_clip_that_stands_still_has_a_ratio() -> None:
    still = np.repeat(drifting(1), 3, axis=0)

    same = compare_movement("clip.mp4", {"fp32": still, "int8": still})
    trembling = compare_movement("clip.mp4", {"fp32": still, "int8": drifting(3)})

    assert same.flicker_ratio("int8") == 1.0
    assert trembling.shimmers("int8")
    assert (
        json.loads(json.dumps(trembling.to_json(), allow_nan=False))["graphs"]["int8"]["flicker_ratio"] > 1e3
    )


def test_graphs_are_run_on_the_clips_consecutive_frames(tmp_path: Path) -> None:
    contract = toy_contract(batch=(1, 4))
    clip = save_clip(tmp_path / "clip.mp4", 7, contract.size_hw)
    int8 = toy_model(contract, scale=0.5 / 255)

    found = ClipMaps.of(clip, toy_model(contract), contract, max_frames=5).compared({"int8": int8})

    expected = np.stack([toy_map(frame) for frame in decoded(clip)[:5]])
    flicker = np.abs(np.diff(expected, axis=0)).mean(axis=(1, 2))
    assert found.clip == "clip.mp4"
    assert found.movements["fp32"].flicker == pytest.approx(flicker, rel=1e-4)
    assert found.movements["int8"].flicker == pytest.approx(flicker / 2, rel=1e-4)
    assert found.to_json()["graphs"]["int8"]["flicker_ratio"] == 0.5
    assert found.to_json()["frames"] == 5


def test_the_shipped_clip_moves() -> None:
    contract = toy_contract()

    found = ClipMaps.of(shipped_clip(), toy_model(contract), contract).compared({})

    assert found.frames == CLIP_FRAMES
    assert sum(step > 1e-4 for step in found.movements["fp32"].flicker) > 20


def test_one_frame_is_no_clip(tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip.mp4", 1)

    with pytest.raises(InputError, match="has 1 frame, expected 2 or more"):
        read_clip(clip, toy_contract())
