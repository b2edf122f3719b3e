"""Takes three steps on a folder of pairs, alone or under torchrun, and writes losses and weights."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from saliency_edge.train.batches import NO_AUGMENTATION, Geometry, Source, TrainingBatches
from saliency_edge.train.datasets import read_dataset
from saliency_edge.train.distributed import process_group, wrap
from saliency_edge.train.fit import FitConfig, make_optimiser, train_step
from saliency_edge.train.losses import parse_loss
from saliency_edge.train.networks import config_of
from saliency_edge.train.networks.saliency_network import SaliencyNetwork

STEPS = 3
SIZE_HW = (48, 64)


def main(data: Path, output: Path) -> None:
    """Train on `data`; write `output/RANK.json`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = SaliencyNetwork(replace(config_of("deep_half"), parameters={"width": 0.125}, size_hw=SIZE_HW))
    config = FitConfig(steps=STEPS, amp=False)
    optimiser = make_optimiser(network, config)
    geometry = Geometry(size_hw=SIZE_HW, map_size_hw=SIZE_HW, fit="stretch")
    sources = [Source(dataset=read_dataset(data), per_batch=4)]
    with process_group("cpu") as process:
        parts = {"rank": process.rank, "world_size": process.world_size}
        batches = TrainingBatches(sources, [geometry], NO_AUGMENTATION, seed=0, steps=STEPS, **parts)
        model, loss = wrap(network, process), parse_loss("kld")
        losses = [
            train_step(model, batches[step], loss, optimiser, config, step, process.device)
            for step in range(STEPS)
        ]
    weights = network.body.conv5.weight.detach().flatten()[:100].tolist()
    (output / f"{process.rank}.json").write_text(json.dumps({"losses": losses, "weights": weights}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
