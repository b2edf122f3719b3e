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


NAN_ON_ONE = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from saliency_edge.runtime.errors import TrainingError
from saliency_edge.train.distributed import process_group, wrap
from saliency_edge.train.fit import FitConfig, make_optimiser, train_step
from saliency_edge.train.networks import config_of
from saliency_edge.train.networks.saliency_network import SaliencyNetwork
from types import SimpleNamespace

torch.set_num_threads(1)
network = SaliencyNetwork(replace(config_of("deep_half"), parameters={"width": 0.125}, size_hw=(48, 64)))
config = FitConfig(steps=3, amp=False)
optimiser = make_optimiser(network, config)


def step(process):
    model = wrap(network, process)
    factor = float("nan") if process.rank == 1 else 1.0
    parts = {"frames": torch.zeros(2, 48, 64, 3, dtype=torch.uint8), "names": ["a", "b"]}
    batch = SimpleNamespace(**parts, **{name: torch.ones(2, 48, 64) for name in ("density", "points")})
    try:
        train_step(
            model, batch, lambda map, *_: map.mean() * factor, optimiser, config, 7, process.device
        )
    except TrainingError as error:
        Path(sys.argv[1], str(process.rank)).write_text(str(error))


with process_group("cpu") as process:
    step(process)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)  # the others waited for their gradients to be averaged, half an hour long
def test_a_loss_that_is_not_finite_in_one_process_ends_all(tmp_path):
    script = tmp_path / "nan_on_one.py"
    script.write_text(NAN_ON_ONE)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, script, tmp_path], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / rank).read_text() for rank in "01")

    assert first.startswith("the loss is not finite at step 7 in another process")
    assert second.startswith("the loss is nan at step 7 on a, b")
