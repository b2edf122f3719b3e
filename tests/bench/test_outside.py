"""What `saliency-bench` says of a loop is what a plain loop in another process takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from bench_bundles import save_bench_bundle
from saliency_edge.runtime.backends.backend import LoadOptions
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.bench.statistics import Interval, median_interval
from saliency_edge.runtime.bench.timing import (
    FRAME,
    IsolatedPlan,
    ModelWorkload,
    run_isolated,
    synthetic_frame,
)

pytestmark = pytest.mark.slow

AGREEMENT = 0.03
PICTURE_HW = (361, 641)
FRAMES = 10
TURNS = 15


@contextmanager
def outside_loop(model: Path) -> Iterator[Callable[[], float]]:
    """Start the plain loop, and give what asks it for the milliseconds of a frame."""
    program = Path(__file__).parents[1] / "outside_loop.py"
    words = [str(word) for word in (program, model, *PICTURE_HW, FRAMES)]
    process = subprocess.Popen(
        [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked, told = process.stdin, process.stdout

    def ask() -> float:
        asked.write("go\n")
        asked.flush()
        return float(told.readline())

    with process:
        assert told.readline() == "ready\n"
        yield ask
        asked.close()


def agreement(model: Path) -> Interval:
    """Give what saliency-bench measures in units of what the plain loop takes, in turns."""
    plan = IsolatedPlan(frames=FRAMES, seconds=0.0, limit=1)
    options = LoadOptions(backend="onnxruntime")  # which the plain loop runs too
    with closing(load_model(model, None, options)) as engine, outside_loop(model) as ask:
        loop = ModelWorkload(engine, synthetic_frame(PICTURE_HW))
        ratios = []
        for _ in range(TURNS + 1):
            inside_ms = run_isolated(loop, plan).latency[FRAME].mean_ms
            ratios.append(inside_ms / ask())
    return median_interval(np.array(ratios[1:]))


def test_it_agrees_with_a_plain_loop_in_another_process(tmp_path: Path) -> None:
    ratio = agreement(save_bench_bundle(tmp_path / "bundle") / "fp32.onnx")
    print(f"saliency-bench over the plain loop: {ratio}")

    assert ratio.low <= 1 + AGREEMENT, ratio
    assert ratio.high >= 1 - AGREEMENT, ratio
