"""Two processes by gloo on the CPU take the step of one."""

import sys
from pathlib import Path

import pytest
import torch

from saliency_edge.train.augment import NO_AUGMENTATION
from saliency_edge.train.batches import Geometry, Source, TrainingBatches
from saliency_edge.train.distributed import Process, process_group, wrap
from saliency_edge.train.fit import FitConfig, make_optimiser, train_step
from saliency_edge.train.losses import parse_loss
from saliency_edge.train.networks import SaliencyNetwork

STEPS = 3


def losses_of(config, dataset, process: Process) -> tuple[list[float], torch.Tensor]:
    torch.manual_seed(0)
    network = SaliencyNetwork(config)
    fit_config = FitConfig(steps=STEPS, amp=False)
    optimiser = make_optimiser(network, fit_config)
    geometry = Geometry(size_hw=config.size_hw, map_size_hw=config.size_hw, fit="stretch")
    batches = TrainingBatches(
        [Source(dataset=dataset, per_batch=4)],
        [geometry],
        NO_AUGMENTATION,
        seed=0,
        steps=STEPS,
        rank=process.rank,
        world_size=process.world_size,
    )
    model = wrap(network, process)
    loss = parse_loss("kld")
    values = [
        train_step(model, batches[step], loss, optimiser, fit_config, step, process.device)
        for step in range(STEPS)
    ]
    return values, network.body.conv5.weight.detach()


def worker(rank: int, port: int, folder: str, config, dataset) -> None:
    import os

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with process_group("cpu") as process:
        torch.save(losses_of(config, dataset, process), Path(folder) / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(discs, tiny_config, tmp_path, unused_port):
    dataset = discs(8)
    expected, weights = losses_of(tiny_config, dataset, Process(device=torch.device("cpu")))
    sys.modules[__name__] = sys.modules.get(__name__) or sys.modules[losses_of.__module__]
    torch.multiprocessing.spawn(worker, (unused_port, str(tmp_path), tiny_config, dataset), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    mean = [(a + b) / 2 for a, b in zip(parts[0][0], parts[1][0], strict=True)]
    assert mean == pytest.approx(expected, rel=1e-5)
    for _, found in parts:
        torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-6)
