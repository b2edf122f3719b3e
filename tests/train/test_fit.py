"""Fitting: it learns, it resumes to the very same numbers, it stops when it must."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from saliency_edge.runtime.errors import TrainingError
from saliency_edge.train.batches import NO_AUGMENTATION, Geometry, Source, TrainingBatches, evaluation_batches
from saliency_edge.train.checkpoint import load_checkpoint
from saliency_edge.train.distributed import Process
from saliency_edge.train.fit import BEST_FILE, FitConfig, ema_decay, fit, make_optimiser, set_learning_rate
from saliency_edge.train.losses import parse_loss
from saliency_edge.train.networks import config_of
from saliency_edge.train.networks.saliency_network import SaliencyNetwork
from saliency_edge.train.run_state import STATE_FILE

CPU = Process(device=torch.device("cpu"))
CONFIG = FitConfig(steps=12, validate_every=3, warmup=2, amp=False)


def run(config, dataset, folder, fit_config=CONFIG, per_batch=4):
    torch.manual_seed(0)
    network = SaliencyNetwork(config)
    size_hw = config.size_hw
    geometry = Geometry(size_hw=size_hw, map_size_hw=network.map_size_at(size_hw), fit="stretch")
    sources = [Source(dataset=dataset, per_batch=per_batch)]
    batches = TrainingBatches(
        sources, [geometry], NO_AUGMENTATION, seed=fit_config.seed, steps=fit_config.steps
    )
    validation = {"discs": list(evaluation_batches(dataset, geometry, 8))}
    return fit(network, batches, validation, parse_loss("kld"), fit_config, folder, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deep_half", "mlnet"])
def test_overfits_32_photographs(discs, tiny_config, tmp_path, name):
    config = (
        tiny_config if name == "deep_half" else replace(config_of("mlnet"), size_hw=(64, 64), fit="stretch")
    )
    fit_config = FitConfig(steps=250, validate_every=250, warmup=10, ema=0.9, learning_rate=1e-3)
    state = run(config, discs(32), tmp_path, fit_config, per_batch=8)
    assert state.best.cc > 0.95, state.history


def test_a_stopped_run_ends_with_the_same_weights(discs, tiny_config, tmp_path, monkeypatch):
    dataset = discs(6)
    whole = run(tiny_config, dataset, tmp_path / "whole")
    monkeypatch.setattr("saliency_edge.train.fit.train_step", _fails_at(7))
    with pytest.raises(KeyboardInterrupt):
        run(tiny_config, dataset, tmp_path / "stopped")
    monkeypatch.undo()
    resumed = run(tiny_config, dataset, tmp_path / "stopped")
    assert resumed == whole
    expected, found = (load_file(tmp_path / name / STATE_FILE) for name in ("whole", "stopped"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def _fails_at(stop):
    from saliency_edge.train.fit import train_step

    def step_or_stop(*args):
        if args[5] == stop:
            raise KeyboardInterrupt
        return train_step(*args)

    return step_or_stop


KILLED = """
import sys
from pathlib import Path
from saliency_edge.train.cli import app
app(["fit", sys.argv[1], "--output", sys.argv[2], "--network", "deep_half", "--size", "32x32", "--steps", "8",
     "--batch", "2", "--validate-every", "2", "--validation-share", "0.5", "--loss", "kld"])
"""


@pytest.mark.slow
def test_sigkill_and_resume_give_the_same_bytes(as_plain_layout, discs, tmp_path):
    folder = as_plain_layout(discs(4))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, "-c", KILLED, folder, whole], check=True, capture_output=True)
    process = subprocess.Popen([sys.executable, "-c", KILLED, folder, killed], stdout=subprocess.DEVNULL)
    while not (killed / STATE_FILE).exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([sys.executable, "-c", KILLED, folder, killed], check=True, capture_output=True)
    for name in ("deep_half.safetensors", STATE_FILE):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name


def test_the_best_checkpoint_is_kept_not_the_last(discs, tiny_config, tmp_path):
    # A rate that rises far too high: what was good at first is lost later.
    wild = replace(
        CONFIG, steps=30, learning_rate=0.5, schedule="constant", warmup=30, ema=0.0, clip_norm=1e9
    )
    state = run(tiny_config, discs(6), tmp_path, wild)
    best = max(state.history, key=lambda figures: figures["cc"])
    assert state.best_step == best["step"] < 30
    record = load_checkpoint(tmp_path / BEST_FILE).record
    assert record["step"] == state.best_step


def test_a_loss_that_is_not_finite_names_the_batch(discs, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr("saliency_edge.train.losses.EPSILON", float("nan"))
    with pytest.raises(TrainingError, match=r"the loss is nan at step 0 on \d\d, \d\d"):
        run(tiny_config, discs(6), tmp_path)


def test_another_configuration_does_not_continue_a_run(discs, tiny_config, tmp_path):
    run(tiny_config, discs(6), tmp_path)
    with pytest.raises(TrainingError, match=r"another run \(learning_rate 0.0004 -> 0.1\)"):
        run(tiny_config, discs(6), tmp_path, replace(CONFIG, learning_rate=0.1))


def test_a_run_without_progress_stops_early(discs, tiny_config, tmp_path):
    still = replace(CONFIG, steps=60, learning_rate=0.0, patience=2, ema=0.0)
    state = run(tiny_config, discs(6), tmp_path, still)
    assert (state.step, state.stale) == (9, 2)


@pytest.mark.parametrize(("schedule", "end"), [("cosine", 0.01), ("constant", 1.0)])
def test_schedules_rise_and_end_where_they_say(tiny_config, schedule, end):
    config = replace(CONFIG, steps=1000, warmup=10, schedule=schedule, learning_rate=2.0)
    optimiser = make_optimiser(SaliencyNetwork(tiny_config), config)
    rates = []
    for step in (0, 9, 999):
        set_learning_rate(optimiser, config, step, 1.0)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates == [pytest.approx(0.2), pytest.approx(2.0, rel=1e-3), pytest.approx(2 * end, rel=1e-2)]


def test_a_frozen_backbone_is_printed_and_the_prior_is_not_frozen(discs, tmp_path, capsys):
    config = replace(config_of("mlnet"), size_hw=(64, 64))
    state = run(config, discs(2), tmp_path, replace(CONFIG, steps=1, backbone_rate=0.0), per_batch=1)
    frozen = capsys.readouterr().out.splitlines()[0]
    assert state.step == 1
    assert "blocks.0.0.weight" in frozen
    assert "prior" not in frozen
    assert json.dumps(state.history)


def test_only_the_first_blocks_are_frozen(discs, tmp_path, capsys):
    config = replace(config_of("mlnet"), size_hw=(64, 64))
    run(config, discs(2), tmp_path, replace(CONFIG, steps=1, frozen_blocks=2), per_batch=1)
    frozen = capsys.readouterr().out.splitlines()[0].removeprefix("frozen: ").split(", ")
    assert all(".blocks." in name for name in frozen)
    assert {name.split(".blocks.")[1][0] for name in frozen} == {"0", "1"}


def test_the_mean_of_trained_weights_keeps_them_where_its_decay_does_not_rise():
    short = replace(CONFIG, ema=0.98, ema_rises=False)
    assert [ema_decay(short, step) for step in (0, 9, 5000)] == [0.98, 0.98, 0.98]
    fresh = replace(CONFIG, ema=0.98)
    assert [ema_decay(fresh, step) for step in (0, 8, 5000)] == [pytest.approx(0.1), pytest.approx(0.5), 0.98]
