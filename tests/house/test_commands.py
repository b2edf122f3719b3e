"""Every console script answers `--help` at once, with the text that is on record."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from help_texts import GOLDEN, commands, help_text, help_texts

HEAVY = {
    "cv2",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "scipy",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "torchvision",
}
LIMIT_S = 0.4
TRIES = 5


def test_installed_commands_are_the_declared_ones(pyproject: dict[str, Any]) -> None:
    assert commands() == sorted(pyproject["project"]["scripts"])


def test_help_is_the_golden_text() -> None:
    golden = {path.name: path.read_text(encoding="utf-8") for path in GOLDEN.glob("*.txt")}

    assert help_texts() == golden, "see the difference, then run: make golden"


@pytest.mark.parametrize("command", commands())
def test_help_comes_at_once(command: str) -> None:
    durations_s = []
    for _ in range(TRIES):
        start_s = time.perf_counter()
        help_text([command])
        durations_s.append(time.perf_counter() - start_s)

    assert min(durations_s) < LIMIT_S, f"seconds: {', '.join(f'{duration:.2f}' for duration in durations_s)}"


@pytest.mark.parametrize("command", commands())
def test_help_loads_nothing_heavy(command: str) -> None:
    program = Path(sys.executable).parent / command
    done = subprocess.run(
        [sys.executable, "-X", "importtime", program, "--help"], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in re.findall(r"\|\s+([\w.]+)$", done.stderr, re.M)}

    assert "saliency_edge" in loaded
    assert loaded & HEAVY == set()
