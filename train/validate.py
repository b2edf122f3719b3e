"""Validation figures during a run, on the network's own map size; `saliency-eval` gives the official ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from .batches import Batch
from .choices import Metric
from .losses import cc, kld, nss
from .networks.saliency_network import SaliencyNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Means over a validation set, or over several sets' means.

    Attributes:
        cc: correlation with the density; larger is better.
        kld: divergence from it; smaller is better.
        nss: on the fixations' cells, weighted by the density in sets without points; larger is better.
    """

    cc: float
    kld: float
    nss: float

    def to_json(self) -> dict[str, float]:
        """Give the figures by name, rounded to five digits."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def is_better(a: Validation, b: Validation, metric: Metric) -> bool:
    """Tell whether `a` is better than `b` by a metric."""
    return a.kld < b.kld if metric == "kld" else bool(getattr(a, metric) > getattr(b, metric))


def mean_over_sets(by_set: Mapping[str, Validation]) -> Validation:
    """Average the sets' figures: a small set counts as much as a large one."""
    figures = list(by_set.values())
    return Validation(
        cc=sum(one.cc for one in figures) / len(figures),
        kld=sum(one.kld for one in figures) / len(figures),
        nss=sum(one.nss for one in figures) / len(figures),
    )


def validate(
    network: SaliencyNetwork, sets: Mapping[str, Sequence[Batch]], device: torch.device, *, amp: bool
) -> dict[str, Validation]:
    """Measure a network on each validation set.

    Args:
        network: left in evaluation mode.
        sets: the batches of each set, by its name.
        device: where the network is.
        amp: compute in bfloat16, as in training.
    """
    network.eval()
    return {name: _validate(network, batches, device, amp=amp) for name, batches in sets.items()}


@torch.no_grad()
def _validate(
    network: SaliencyNetwork, batches: Sequence[Batch], device: torch.device, *, amp: bool
) -> Validation:
    sums = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        frames = batch.frames.to(device).permute(0, 3, 1, 2).float()
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            prediction = network(frames).clamp_min(0)
        density, points = batch.density.to(device), batch.points.to(device)
        terms = [1 - cc(prediction, density), kld(prediction, density), -nss(prediction, points)]
        sums += torch.stack(terms).cpu().double() * len(batch.names)
    mean = sums / sum(len(batch.names) for batch in batches)
    return Validation(cc=float(mean[0]), kld=float(mean[1]), nss=float(mean[2]))
