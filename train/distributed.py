"""Several processes, one run, by torch's DDP: `torchrun --nproc-per-node N -m saliency_edge.train.cli`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """This process' place among the ones that train together."""

    rank: int = 0
    world_size: int = 1
    device: torch.device


@contextmanager
def process_group(device: str | None = None) -> Iterator[Process]:
    """Join the processes that torchrun started; alone where it did not.

    Args:
        device: `cpu` or `cuda`; by default the GPU of this process where there is one.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    own = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if world_size == 1:
        yield Process(device=own)
        return
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Process(rank=distributed.get_rank(), world_size=world_size, device=own)
    finally:
        distributed.destroy_process_group()


def holds_everywhere(is_true: bool, device: torch.device) -> bool:
    """Whether something holds in all processes; each of them must come here, and all get the same answer."""
    if not distributed.is_initialized():
        return is_true
    votes = torch.tensor(int(is_true), device=device)
    distributed.all_reduce(votes, op=distributed.ReduceOp.MIN)
    return bool(votes)


def wrap(network: nn.Module, process: Process) -> nn.Module:
    """Let gradients be averaged over the processes; the network itself where there is one."""
    if process.world_size == 1:
        return network
    device_ids = [process.device] if process.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=device_ids)
