"""Validation figures during a run, on the network's own map size; `saliency-eval` gives the official ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from .batches import Batch
from .choices import Metric
from .losses import cc, kld, nss
from .networks.saliency_network import SaliencyNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Means over the validation set: CC and density-weighted NSS (larger is better), KLDiv (smaller)."""

    cc: float
    kld: float
    nss: float

    def to_json(self) -> dict[str, float]:
        """Give the figures by name, rounded to five digits."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def is_better(a: Validation, b: Validation, metric: Metric) -> bool:
    """Tell whether `a` is better than `b` by a metric."""
    return a.kld < b.kld if metric == "kld" else bool(getattr(a, metric) > getattr(b, metric))


@torch.no_grad()
def validate(
    network: SaliencyNetwork, batches: Sequence[Batch], device: torch.device, *, amp: bool
) -> Validation:
    """Measure a network.

    Args:
        network: left in evaluation mode.
        batches: the validation set.
        device: where the network is.
        amp: compute in bfloat16, as in training.
    """
    network.eval()
    sums = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        frames = batch.frames.to(device).permute(0, 3, 1, 2).float()
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            prediction = network(frames).clamp_min(0)
        density = batch.density.to(device)
        terms = [1 - cc(prediction, density), kld(prediction, density), -nss(prediction, density)]
        sums += torch.stack(terms).cpu().double() * len(batch.names)
    mean = sums / sum(len(batch.names) for batch in batches)
    return Validation(cc=float(mean[0]), kld=float(mean[1]), nss=float(mean[2]))
