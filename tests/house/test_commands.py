"""Every console script answers `--help` at once, with the text that is on record."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
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
TRIES = 3


def help_cpu_s(command: str) -> float:
    """Measure the processor's time: unlike the clock's, other work on the machine hardly lengthens it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    help_text([command])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_installed_commands_are_the_declared_ones(pyproject: dict[str, Any]) -> None:
    assert commands() == sorted(pyproject["project"]["scripts"])


def test_help_is_the_golden_text() -> None:
    golden = {path.name: path.read_text(encoding="utf-8") for path in GOLDEN.glob("*.txt")}

    assert help_texts() == golden, "see the difference, then run: make golden"


@pytest.mark.parametrize("command", commands())
def test_help_comes_at_once(command: str) -> None:
    costs_s = [help_cpu_s(command) for _ in range(TRIES)]

    assert min(costs_s) < LIMIT_S, f"CPU seconds: {', '.join(f'{cost:.2f}' for cost in costs_s)}"


@pytest.mark.parametrize("command", commands())
def test_help_loads_nothing_heavy(command: str) -> None:
    program = Path(sys.executable).parent / command
    done = subprocess.run(
        [sys.executable, "-X", "importtime", program, "--help"], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in re.findall(r"\|\s+([\w.]+)$", done.stderr, re.M)}

    assert "saliency_edge" in loaded
    assert loaded & HEAVY == set()
