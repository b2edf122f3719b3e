"""saliency-calib as a user runs it, on the tiny network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine_bundles import TINY, tiny_bundle
from saliency_edge.calib.graph import load_model
from saliency_edge.calib.ranges import ActivationRanges

Frames = list[np.ndarray]


def saliency_calib(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "saliency_edge.calib.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def images(write_images: Callable[[str, Frames], Path], photographs: Frames) -> Path:
    return write_images("images", photographs)


def test_ranges_of_a_bundle_are_made_once(images: Path, tmp_path: Path) -> None:
    bundle, output = tiny_bundle(tmp_path / "tiny"), tmp_path / "tiny.ranges.json"
    first = saliency_calib("ranges", bundle, images, "--output", output)
    written = output.read_bytes()
    second = saliency_calib("ranges", bundle, images, "--output", output, "--json")

    assert first.returncode == 0, first.stderr
    assert "conv1.relu" in first.stdout
    assert f"written     {output}" in first.stdout
    assert "more frames like these" in first.stdout
    ActivationRanges.load(output).check(load_model(bundle).graph)
    assert json.loads(second.stdout)["made"] is False
    assert output.read_bytes() == written


def test_other_frames_make_ranges_anew(model_onnx: Path, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "ranges.json"
    saliency_calib("ranges", model_onnx, images, "--output", output)
    before = ActivationRanges.load(output)
    (images / "000.png").unlink()
    done = saliency_calib("ranges", model_onnx, images, "--output", output, "--json")

    assert json.loads(done.stdout)["made"] is True
    assert ActivationRanges.load(output).frames == before.frames - 1


def test_black_frames_are_refused_in_one_line(
    model_onnx: Path, write_images: Callable[[str, Frames], Path], tmp_path: Path
) -> None:
    black = [np.full((*TINY.size_hw, 3), 12 * (number % 2), np.uint8) for number in range(20)]
    output = tmp_path / "ranges.json"
    done = saliency_calib("ranges", model_onnx, write_images("black", black), "--output", output)

    assert done.returncode == 1
    assert "frames show nothing" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert not output.exists()


def test_select_then_audit(images: Path, model_onnx: Path, tmp_path: Path) -> None:
    chosen, ranges = tmp_path / "chosen.json", tmp_path / "ranges.json"
    selected = saliency_calib("select", images, "--frames", 10, "--output", chosen, "--json")
    saliency_calib("ranges", model_onnx, chosen, "--output", ranges)
    spoken = saliency_calib("audit", chosen, "--ranges", ranges)
    audited = json.loads(saliency_calib("audit", chosen, "--ranges", ranges, "--json").stdout)

    assert json.loads(selected.stdout)["frames"] == 10, selected.stderr
    assert "half of 10 frames" in spoken.stdout
    assert audited["frames"]["frames"] == audited["ranges"]["frames"] == 10
    assert len(audited["ranges"]["verdicts"]) == 6


def test_audit_of_nothing_says_what_to_give() -> None:
    done = saliency_calib("audit")

    assert (done.returncode, done.stderr) == (2, "error: nothing to audit. Give a SOURCE, or --ranges FILE\n")
