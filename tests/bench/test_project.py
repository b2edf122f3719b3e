"""The project held against its own baseline, as its users hold theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from project_baseline import BASELINE, project_plan
from saliency_edge.runtime.bench.baseline import (
    Comparison,
    Limits,
    compare,
    machine_differences,
    read_baseline,
)
from saliency_edge.runtime.bench.measure import measure

TIMED = ("time of ", "start-up")
TOLERANCE = 0.25  # of times, also for machines of one kind that are not the same
REMEDY = "If this is meant: PYTHONPATH=tests python tests/project_baseline.py, and commit the baseline"


def is_timed(item: Comparison) -> bool:
    return item.figure.startswith(TIMED)


@pytest.mark.slow
def test_nothing_got_worse(tmp_path: Path) -> None:
    baseline = read_baseline(BASELINE)
    result = measure(replace(project_plan(tmp_path), repeats=baseline.repeats), lambda _line: None)
    checks = compare(result, baseline, Limits(tolerance=TOLERANCE))
    other_kind = machine_differences(result, baseline)
    held = [item for item in checks if not (other_kind and is_timed(item))]
    print(f"not held, another kind of machine: times ({'; '.join(other_kind)})" if other_kind else "")

    assert [f"{item.model}: {item.sentence}" for item in held if item.verdict == "worse"] == [], REMEDY
    assert {item.model for item in checks} == {*baseline.models, "install"}


def test_baseline_holds_both_networks_in_both_precisions() -> None:
    names = {tuple(name.split()[:2]) for name in read_baseline(BASELINE).models}

    assert names == {(network, each) for network in ("deep_half", "mlnet_small") for each in ("fp32", "int8")}
