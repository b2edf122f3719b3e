"""From options to material: whose frames calibrate and whose judge, and which ranges are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from quantizing import seeded
from saliency_edge.calib.calibrate import frame_hash
from saliency_edge.export.int8.gate import shipped_gate_frames, shipped_probes, unseen
from saliency_edge.export.int8.options import Int8Options, SearchBudget
from saliency_edge.export.int8.results import GateLimits
from saliency_edge.export.int8.step import Int8Graphs, Int8Step, make_int8
from saliency_edge.export.to_onnx import CheckpointOriginal
from saliency_edge.runtime.errors import ContractError, InputError
from seeded_networks import seeded_checkpoint
from toy_models import noise

OPEN = GateLimits(
    cc_mean=0, cc_worst=0, kldiv_mean=100, kldiv_worst=100, peak_shift_p95=1000, edge_cases=1000
)


def make(folder: Path, *, seed: int = 0, calib: Path | None = None, ranges: Path | None = None) -> Int8Step:
    start = seeded("deep_half")
    source = start.source
    options = Int8Options(limits=OPEN, budget=SearchBudget(frames=1, sets=1), calib=calib, ranges=ranges)
    graphs = Int8Graphs(exported=source.fp32, fp32=source.fp32, body=source.body, rounded=source.rounded)
    original = CheckpointOriginal(path=folder, checkpoint=seeded_checkpoint("deep_half", seed))
    return make_int8(original, start.contract, graphs, options, folder / "search.json")


def save_frames(folder: Path, count: int, *, black: bool = False) -> Path:
    folder.mkdir()
    for number in range(count):
        image = np.zeros((48, 64, 3), np.uint8) if black else noise((48, 64), number)
        assert cv2.imwrite(str(folder / f"{number:03d}.png"), image)
    return folder


def test_users_frames_are_split_and_none_serves_twice(tmp_path: Path) -> None:
    step = make(tmp_path, calib=save_frames(tmp_path / "frames", 24))
    calibrated = set(step.ranges.key.frames_sha256)
    judged = {frame_hash(pixels) for pixels in step.gate.frames.pixels}

    assert len(calibrated) >= 12
    assert len(judged) >= 4
    assert not calibrated & judged
    assert step.search.model is not None
    assert not (tmp_path / "search.json").exists()


def test_black_frames_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="black, or of one colour"):
        make(tmp_path, calib=save_frames(tmp_path / "frames", 20, black=True))


def test_few_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8 different frames; calibration and its gate need 16"):
        make(tmp_path, calib=save_frames(tmp_path / "frames", 8))


def test_ranges_of_other_weights_are_refused(tmp_path: Path) -> None:
    other = make(tmp_path, calib=save_frames(tmp_path / "frames", 24)).ranges
    path = tmp_path / "ranges.json"
    other.save(path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(other.key.weights_sha256, "0" * 64), encoding="utf-8")

    with pytest.raises(ContractError, match="made for weights 00000000"):
        make(tmp_path, ranges=path)


def test_shipped_ranges_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"made for frames of 240x320"):
        make(tmp_path)


def test_gate_leaves_out_what_calibrated_and_probes_are_none_of_it() -> None:
    start = seeded("deep_half")
    judged, probes = shipped_gate_frames(start.contract), shipped_probes(start.contract)
    left = unseen(judged, start.source.ranges)
    hashes = {frame_hash(pixels) for pixels in judged.pixels}

    assert len(judged) >= 21  # one twin peak stays beyond the 95th percentile
    assert len(hashes) == len(judged)
    assert not hashes & {frame_hash(pixels) for pixels in probes.pixels}
    assert len(left) == len(judged) - 11  # its ranges were made from the eleven shipped frames
