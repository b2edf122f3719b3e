"""Two processes by gloo on the CPU take the steps of one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "steps_of_a_run.py"


def results(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(as_plain_layout, discs, tmp_path):
    data = as_plain_layout(discs(8))
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([sys.executable, SCRIPT, data, alone], check=True, capture_output=True)
    subprocess.run([*torchrun, SCRIPT, data, together], check=True, capture_output=True)
    (one,), (first, second) = results(alone), results(together)
    mean = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert mean == pytest.approx(one["losses"], rel=1e-5)
    assert first["weights"] == second["weights"] == pytest.approx(one["weights"], rel=1e-3, abs=1e-6)
