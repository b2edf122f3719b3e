"""What saliency-run makes of its options for maps, on a toy model whose maps are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toy_models import save_clip, save_toy

COUNT, FPS = 12, 10.0


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    save_toy(folder / "toy.onnx")
    save_clip(folder / "clip.mp4", COUNT, (48, 64), FPS)
    return folder


def run(inputs: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "saliency-run"
    return subprocess.run(
        [program, inputs / "toy.onnx", inputs / "clip.mp4", *options],
        cwd=output,
        capture_output=True,
        text=True,
        check=False,
    )


def test_maps_are_smoothed_before_anyone_gets_them(inputs: Path, tmp_path: Path) -> None:
    plain = run(inputs, tmp_path, "--save-maps", "plain", "--maps-format", "npy")
    smooth = run(inputs, tmp_path, "--save-maps", "smooth", "--maps-format", "npy", "--smooth", "0.2s")

    assert (plain.returncode, smooth.returncode) == (0, 0), plain.stderr + smooth.stderr
    maps = [np.load(path) for path in sorted((tmp_path / "plain").glob("*.npy"))]
    found = [np.load(path) for path in sorted((tmp_path / "smooth").glob("*.npy"))]
    weight = 1 - np.exp(-1 / FPS / 0.2)
    assert len(found) == len(maps) == COUNT
    jumps = [
        np.abs(after - (before + weight * (now - before))).max() < 1e-5 or np.array_equal(after, now)
        for before, now, after in zip(found, maps[1:], found[1:], strict=False)
    ]
    assert all(jumps), "each map is the average, or begins anew at a cut"
    assert np.array_equal(found[0], maps[0])


def test_qp_maps_regions_and_statistics_have_every_frame(inputs: Path, tmp_path: Path) -> None:
    done = run(inputs, tmp_path, "--qp-map", "clip.npy", "--regions", "2", "--jsonl", "clip.jsonl")

    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "clip.jsonl").read_text(encoding="utf-8").splitlines()]
    assert np.load(tmp_path / "clip.npy").shape == (COUNT, 3, 4)
    assert json.loads((tmp_path / "clip.json").read_text(encoding="utf-8"))["fps"] == FPS
    assert len(lines) == COUNT
    for line in lines:
        assert len(line["regions"]) <= 2
        assert all(0 < region["peak"] <= 1 for region in line["regions"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--smooth", "0.2"], "--smooth 0.2: expected a time above 0, such as 0.2s or 200ms"),
        (["--qp-map", "clip.txt"], "--qp-map clip.txt: end it in .npy, or in .filter for FFmpeg"),
        (["--qp-map", "clip.npy", "--every", "2"], "--qp-map needs every frame"),
    ],
)
def test_options_that_cannot_be_are_told_of(
    options: list[str], said: str, inputs: Path, tmp_path: Path
) -> None:
    done = run(inputs, tmp_path, *options)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
