"""Losses by name, and weighted sums of them: `kld`, `kld+0.1*cc`, `mlnet`.

All take maps (N, h, w): the network's, in 0 to 1, and the fixation density, largest value 1. All are means
over the batch, and smaller is better.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..runtime.errors import UsageError

EPSILON = 1e-7

Term = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def kld(prediction: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the prediction from the density, both divided by their sums; in nats."""
    p, q = _distribution(prediction), _distribution(density)
    return (q * torch.log(EPSILON + q / (p + EPSILON))).sum(dim=(1, 2)).mean()


def cc(prediction: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """One minus Pearson's correlation; 1 for a constant map."""
    p = prediction - prediction.mean(dim=(1, 2), keepdim=True)
    q = density - density.mean(dim=(1, 2), keepdim=True)
    product = (p * q).sum(dim=(1, 2))
    norm = (p.square().sum(dim=(1, 2)) * q.square().sum(dim=(1, 2))).clamp_min(EPSILON).sqrt()
    return (1 - product / norm).mean()


def nss(prediction: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """Minus the prediction's standardised value where people look, averaged with the density as weight."""
    deviation = prediction.flatten(1).std(dim=1, correction=0).view(-1, 1, 1).clamp_min(EPSILON)
    standardised = (prediction - prediction.mean(dim=(1, 2), keepdim=True)) / deviation
    return -(standardised * _distribution(density)).sum(dim=(1, 2)).mean()


def mse(prediction: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """Mean squared error, the deep convnet's own loss (Pan et al., 2016)."""
    return (prediction - density).square().mean()


def mlnet(prediction: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """MLNet's own loss, the mean of (p / max p - y)^2 / (1.1 - y): the numerator alone squared.

    The paper (Cornia et al., 2016) squares the whole fraction; its author calls the code, followed here,
    right. A map of zeros stays zeros.
    """
    peak = prediction.amax(dim=(1, 2), keepdim=True).clamp_min(EPSILON)
    return ((prediction / peak - density).square() / (1.1 - density)).mean()


TERMS: dict[str, Term] = {"kld": kld, "cc": cc, "nss": nss, "mse": mse, "mlnet": mlnet}


ON_POINTS = frozenset({"nss"})


@dataclass(frozen=True, slots=True)
class Loss:
    """A weighted sum of terms; with the `mlnet` term comes the regulariser of MLNet's prior."""

    terms: tuple[tuple[float, str], ...]

    def __call__(
        self,
        prediction: torch.Tensor,
        density: torch.Tensor,
        prior: torch.Tensor | None = None,
        points: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute the loss.

        Args:
            prediction: (N, h, w), 0 to 1.
            density: (N, h, w), largest value 1.
            prior: MLNet's; the term `mlnet` regularises it by the sum of its squares over the number of
                cells, as in the authors' code.
            points: (N, h, w) fixations per cell for the terms that are defined on points (`nss`); without
                them these terms take the density.

        Returns:
            A scalar.
        """
        prediction = prediction.clamp_min(0)
        total = prediction.new_zeros(())
        for weight, name in self.terms:
            truth = points if name in ON_POINTS and points is not None else density
            total = total + weight * TERMS[name](prediction, truth)
            if name == "mlnet" and prior is not None:
                total = total + weight * prior.square().sum() / density[0].numel()
        return total


def parse_loss(text: str) -> Loss:
    """Read a weighted sum such as `kld+0.1*cc`.

    Raises:
        UsageError: a term is unknown or a weight is no positive number.
    """
    return Loss(tuple(_parse_term(part) for part in text.replace(" ", "").split("+")))


def _parse_term(part: str) -> tuple[float, str]:
    match = re.fullmatch(r"(?:(\d*\.?\d+)\*)?([a-z]+)", part)
    weight = float(match[1] or 1) if match is not None else 0.0
    if match is None or match[2] not in TERMS or not 0 < weight <= 1e6:
        raise UsageError(
            f"--loss: found the term {part[:40]!r}, expected NAME or WEIGHT*NAME with NAME one of "
            f"{', '.join(TERMS)} and WEIGHT above 0, up to 1e6"
        )
    return weight, match[2]


def _distribution(maps: torch.Tensor) -> torch.Tensor:
    return maps / maps.sum(dim=(1, 2), keepdim=True).clamp_min(EPSILON)
