"""docs/your-network.md, followed to the letter: a network of another package is trained, exported and run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.calib.frames import shipped_clip, shipped_frames

PAGE = Path(__file__).resolve().parents[2] / "docs" / "your-network.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the page's package is installed, with a dataset, photographs and a clip."""
    folder = tmp_path_factory.mktemp("your_network")
    (folder / "tiny_saliency.py").write_text(blocks("python")[0], encoding="utf-8")
    entry = re.findall(r"(?m)^tiny_saliency = \"(.*)\"$", blocks("toml")[0])[0]
    info = folder / "tiny_saliency-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-saliency\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[saliency_edge.networks]\ntiny_saliency = {entry}\n")
    for part in ("DATASET/images", "DATASET/maps", "PHOTOS"):
        (folder / part).mkdir(parents=True)
    for name, frame_bgr in shipped_frames():
        small = cv2.resize(frame_bgr, (160, 120))
        for number in range(3):  # crops of each frame; int8 needs sixteen different ones
            crop = small[8 * number :, 10 * number :]
            cv2.imwrite(str(folder / "PHOTOS" / f"{name}_{number}.png"), crop)
        cv2.imwrite(str(folder / "DATASET/images" / f"{name}.png"), small)
        cv2.imwrite(str(folder / "DATASET/maps" / f"{name}.png"), contrast(small))
    (folder / "clip.mp4").symlink_to(shipped_clip())
    return folder


def contrast(frame_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A map that can be learned from the pixels: where grey levels change."""
    grey = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2GRAY)
    blurred = cv2.GaussianBlur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (0, 0), 6)
    return (blurred / blurred.max() * 255).astype(np.uint8)


def run(folder: Path, command: str) -> str:
    words = shlex.split(command)
    program = Path(sys.executable).parent / words[0]
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [str(program), *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_page_s_commands_train_export_and_run_the_network(workplace: Path) -> None:
    commands = [line[2:] for line in blocks("console")[0].splitlines()]

    assert "tiny_saliency" in run(workplace, "saliency-train fit --help")
    for command in commands:
        run(workplace, f"{command} --max-frames 8" if command.startswith("saliency-run") else command)

    manifest = json.loads((workplace / "tiny/manifest.json").read_text(encoding="utf-8"))
    assert manifest["network"] == "tiny_saliency"
    assert set(manifest["models"]) == {"fp32", "fp16", "int8"}
    assert manifest["int8"]["int8_macs_share"] > 0.1
    assert cv2.VideoCapture(str(workplace / "overlay.mp4")).read()[0]


def test_errors_that_list_names_name_it(workplace: Path) -> None:
    path = os.pathsep.join([str(workplace), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "saliency_edge.export.cli", "--network", "unknown"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "deep_half, deep_full, mlnet, mlnet_small, lite2, tiny_saliency" in done.stderr
