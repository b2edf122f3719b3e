"""Fitting a network, from top to bottom.

A run is a pure function of its configuration: batch, dropout and augmentation of step k derive from the seed
and k alone, so a killed run that is resumed ends with the very numbers of one left alone.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from ..runtime.errors import TrainingError, UsageError
from ..runtime.options import MAX_SEED, MAX_WORKERS, check_range
from .batches import Batch, TrainingBatches, training_loader
from .checkpoint import save_checkpoint
from .choices import Metric, Optimiser, Schedule
from .distributed import Process, holds_everywhere, wrap
from .losses import Loss
from .networks.lite2 import Lite2
from .networks.mlnet import MLNet
from .networks.saliency_network import SaliencyNetwork
from .run_state import RunState, load_state, save_state
from .validate import Validation, is_better, mean_over_sets, validate

BEST_FILE = "best.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How to fit.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: at its highest.
        backbone_rate: factor on it for MLNet's VGG16 and lite2's EfficientNet; 0 freezes the VGG16.
        frozen_blocks: so many of the VGG16's five blocks, or of lite2's seven stages, stay as they are,
            from the first; they cost the most time, and their edges and colours serve any task.
        optimiser: `adamw`, or `sgd` with Nesterov momentum 0.9 as the authors of both networks have it.
        weight_decay: on weights of two dimensions or more.
        schedule: `cosine` falls to a hundredth; `plateau` halves after `patience` / 2 validations without
            progress; `constant` stays.
        warmup: steps of linear rise at the start.
        clip_norm: largest norm of the gradient.
        ema: decay of the weights' running mean, which is what is validated and kept; 0 keeps the weights.
        ema_rises: the decay begins low and rises to `ema` within some hundred steps, so that weights from
            chance are soon forgotten; without it trained weights stay in the mean, as a short run wants it.
        amp: compute in bfloat16 where that is safe.
        validate_every: steps between validations; each also saves the state that a resumed run starts from.
        patience: validations without progress before the run stops early; 0 never stops.
        metric: which validation figure chooses the best checkpoint.
        seed: of everything.
        workers: processes that read ahead.
    """

    steps: int
    learning_rate: float = 4e-4
    backbone_rate: float = 1.0
    frozen_blocks: int = 0
    optimiser: Optimiser = "adamw"
    weight_decay: float = 1e-4
    schedule: Schedule = "cosine"
    warmup: int = 100
    clip_norm: float = 1.0
    ema: float = 0.999
    ema_rises: bool = True
    amp: bool = True
    validate_every: int = 250
    patience: int = 0
    metric: Metric = "cc"
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one of them cannot be.
        """
        ranges = {
            "steps": (1, 10**9),
            "learning_rate": (0.0, 10.0),
            "backbone_rate": (0.0, 100.0),
            "frozen_blocks": (0, 5),
            "weight_decay": (0.0, 1.0),
            "warmup": (0, 10**9),
            "clip_norm": (1e-9, 1e9),
            "validate_every": (1, 10**9),
            "patience": (0, 10**9),
            "seed": (0, MAX_SEED),
            "workers": (0, MAX_WORKERS),
        }
        for name, (low, high) in ranges.items():
            check_range(f"--{name.replace('_', '-')}", getattr(self, name), low, high)
        if not 0 <= self.ema < 1:
            raise UsageError(f"--ema {self.ema:g}: expected a decay from 0 (none) to below 1, such as 0.999")


def fit(
    network: SaliencyNetwork,
    batches: TrainingBatches,
    validation: Mapping[str, Sequence[Batch]],
    loss: Loss,
    config: FitConfig,
    folder: Path,
    process: Process,
) -> RunState:
    """Train a network, or go on with a run that was stopped.

    Args:
        network: where to start; trained in place.
        batches: what to learn from.
        validation: what to choose the best checkpoint by, set by set: the mean over the sets decides. Never
            learned from.
        loss: what to make small.
        config: how.
        folder: holds `state.safetensors` (to resume), `best.safetensors` and TensorBoard's logs.
        process: this process' place among the ones that train together.

    Returns:
        The state at the end, with the history of validations.

    Raises:
        TrainingError: the loss is not finite, memory is out, or the folder holds another run.
    """
    network.to(process.device).to(memory_format=torch.channels_last)  # a fifth less time on a CPU
    averaged = copy.deepcopy(network).eval()
    optimiser = make_optimiser(network, config)
    state = load_state(folder, network, averaged, optimiser, config) or RunState()
    model = wrap(network, process)
    with RunLog(folder, config.steps, quiet=process.rank > 0) as log:
        log.frozen(network)
        for step, batch in enumerate(training_loader(batches, state.step, config.workers), start=state.step):
            set_learning_rate(optimiser, config, step, state.plateau_factor)
            value = train_step(model, batch, loss, optimiser, config, step, process.device)
            update_average(averaged, network, ema_decay(config, step))
            log.step(step, value, optimiser.param_groups[0]["lr"])
            if (step + 1) % config.validate_every and step + 1 < config.steps:
                continue
            by_set = validate(averaged, validation, process.device, amp=config.amp)
            figures = mean_over_sets(by_set)
            if not all(map(math.isfinite, asdict(figures).values())):
                raise TrainingError(
                    f"validation is not finite at step {step + 1}: {figures}. Lower --learning-rate"
                )
            state = advance(state, step + 1, figures, config)
            if process.rank == 0:
                log.validation(step + 1, by_set, averaged, next(iter(validation.values()))[0])
                if state.best_step == step + 1:
                    save_checkpoint(folder / BEST_FILE, averaged, {"step": step + 1, **figures.to_json()})
                save_state(folder, state, network, averaged, optimiser, config)
            if config.patience and state.stale >= config.patience:
                log.say(f"stopped early: no better {config.metric} in {state.stale} validations")
                break
    return state


def train_step(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    optimiser: torch.optim.Optimizer,
    config: FitConfig,
    step: int,
    device: torch.device,
) -> float:
    """Take one step down the gradient.

    Returns:
        The loss before it.

    Raises:
        TrainingError: the loss is not finite (the batch is named), or memory is out.
    """
    torch.manual_seed(config.seed * 1_000_003 + step)  # dropout of step k is the same after a resume
    model.train()
    try:
        frames = batch.frames.to(device).permute(0, 3, 1, 2).float()  # (N, 3, H, W)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
            prediction = model(frames)  # (N, h, w)
        points = batch.points.to(device)
        value = loss(prediction, batch.density.to(device), prior_of(model), points)
        number = value.item()
        # Before gradients are averaged over the processes: one that left alone would keep the others waiting.
        if not holds_everywhere(math.isfinite(number), device):
            raise _not_finite(number, step, batch)
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
    except torch.cuda.OutOfMemoryError as error:
        count = len(batch.frames)
        raise TrainingError(
            f"out of GPU memory with {count} images a step. Try --batch {max(1, count // 2)}"
        ) from error
    nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimiser.step()
    return number


def _not_finite(number: float, step: int, batch: Batch) -> TrainingError:
    if math.isfinite(number):
        return TrainingError(
            f"the loss is not finite at step {step} in another process, which says on what. "
            "Lower --learning-rate"
        )
    return TrainingError(
        f"the loss is {number} at step {step} on {', '.join(batch.names)}. "
        "Lower --learning-rate, or look at these photographs"
    )


def prior_of(model: nn.Module) -> torch.Tensor | None:
    """Find MLNet's prior in a network, wrapped for several processes or not."""
    return next((module.prior for module in model.modules() if isinstance(module, MLNet)), None)


def make_optimiser(network: SaliencyNetwork, config: FitConfig) -> torch.optim.Optimizer:
    """Make the optimiser: biases and the prior without weight decay, VGG16 at its own rate (0 freezes it)."""
    backbone = set(_backbone(network).parameters())
    freeze(network, blocks=5 if config.backbone_rate == 0 else config.frozen_blocks)
    groups = []
    for is_backbone in (False, True):
        for decays in (True, False):
            parameters = [
                parameter
                for parameter in network.parameters()
                if parameter.requires_grad
                and (parameter in backbone) == is_backbone
                and (parameter.dim() > 1) == decays
            ]
            factor = config.backbone_rate if is_backbone else 1.0
            decay = config.weight_decay if decays else 0.0
            groups.append({"params": parameters, "factor": factor, "weight_decay": decay})
    groups = [group for group in groups if group["params"]]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def _backbone(network: SaliencyNetwork) -> nn.Module:
    """Find the pretrained part of a network; an empty module where it has none."""
    if isinstance(network.body, MLNet):
        return network.body.blocks
    return network.body.backbone if isinstance(network.body, Lite2) else nn.ModuleList()


def freeze(network: SaliencyNetwork, blocks: int) -> None:
    """Keep the first blocks of a pretrained backbone as they are; the deep convnet has none."""
    if isinstance(network.body, MLNet):
        network.body.blocks[:blocks].requires_grad_(False)
    if isinstance(network.body, Lite2) and blocks:
        network.body.backbone.stem.requires_grad_(False)
        network.body.backbone.stages[:blocks].requires_grad_(False)


def set_learning_rate(
    optimiser: torch.optim.Optimizer, config: FitConfig, step: int, plateau_factor: float
) -> None:
    """Set each group's rate for a step."""
    factor = min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "cosine":
        factor *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    if config.schedule == "plateau":
        factor *= plateau_factor
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * group["factor"] * factor


def ema_decay(config: FitConfig, step: int) -> float:
    """Give the decay of the weights' running mean at a step."""
    return min(config.ema, (1 + step) / (10 + step)) if config.ema_rises else config.ema


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the running mean of the weights towards the weights."""
    for mean, parameter in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(parameter, 1 - decay)


def advance(state: RunState, step: int, figures: Validation, config: FitConfig) -> RunState:
    """Enter a validation into the run's state: is it the best, is it time to lower the rate?"""
    history = (*state.history, {"step": step, **figures.to_json()})
    if state.best is None or is_better(figures, state.best, config.metric):
        return RunState(
            step=step, best=figures, best_step=step, plateau_factor=state.plateau_factor, history=history
        )
    stale = state.stale + 1
    lowers = config.schedule == "plateau" and stale % max(1, config.patience // 2) == 0
    return RunState(
        step=step,
        best=state.best,
        best_step=state.best_step,
        stale=stale,
        plateau_factor=state.plateau_factor * (0.5 if lowers else 1.0),
        history=history,
    )


PICTURES = 4
PLAIN_LINE_EVERY_S = 30.0


class RunLog:
    """Shows a run to a person, and writes it down for TensorBoard under `folder/tensorboard`."""

    def __init__(self, folder: Path, steps: int, *, quiet: bool = False) -> None:
        """Start nothing yet; `quiet` shows and writes nothing, for all processes but the first."""
        self._folder, self._steps, self._quiet = folder, steps, quiet
        self._mean_loss: float | None = None
        self._last_line_s = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            disable=quiet or not sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("training", total=steps)

    def __enter__(self) -> RunLog:
        """Open TensorBoard's file and show the bar."""
        if not self._quiet:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder / "tensorboard"))
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both."""
        self._bar.stop()
        if not self._quiet:
            self._writer.close()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._quiet:
            self._bar.console.print(text, highlight=False, soft_wrap=True)

    def frozen(self, network: SaliencyNetwork) -> None:
        """Print which parameters do not learn, so that none is frozen by accident."""
        names = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
        self.say(f"frozen: {', '.join(names) if names else 'nothing, all parameters learn'}")

    def step(self, step: int, loss: float, learning_rate: float) -> None:
        """Enter one step."""
        mean = loss if self._mean_loss is None else 0.98 * self._mean_loss + 0.02 * loss
        self._mean_loss = mean
        self._bar.update(self._task, completed=step + 1, description=f"loss {mean:.4f}")
        if self._quiet:
            return
        self._writer.add_scalar("loss", loss, step)
        self._writer.add_scalar("learning rate", learning_rate, step)
        if not sys.stdout.isatty() and time.monotonic() - self._last_line_s > PLAIN_LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            self.say(f"step {step + 1}/{self._steps}  loss {mean:.4f}  learning rate {learning_rate:.2g}")

    def validation(
        self, step: int, by_set: Mapping[str, Validation], network: SaliencyNetwork, batch: Batch
    ) -> None:
        """Enter a validation: each set's figures and their means, and a grid of photographs and maps."""
        lines = dict(by_set) if len(by_set) == 1 else {**by_set, "mean over sets": mean_over_sets(by_set)}
        for line, figures in lines.items():
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.to_json().items())
            self.say(f"step {step}  {shown}  {line}")
            for name, value in figures.to_json().items():
                self._writer.add_scalar(f"validation/{line}/{name}", value, step)
        self._writer.add_image("photograph, density, map", _grid(network, batch), step)


@torch.no_grad()
def _grid(network: SaliencyNetwork, batch: Batch) -> torch.Tensor:
    """Place photographs, densities and maps in three rows; (3, 3 h, n w) RGB in 0 to 1."""
    device = next(network.parameters()).device
    frames = batch.frames[:PICTURES].permute(0, 3, 1, 2).float()  # (n, 3, H, W) BGR
    density = batch.density[:PICTURES]
    maps = network(frames.to(device)).cpu().clamp(0, 1)
    small = torch.nn.functional.interpolate(frames.flip(1) / 255, density.shape[-2:], mode="area")
    rows = [small, density[:, None].expand(-1, 3, -1, -1), maps[:, None].expand(-1, 3, -1, -1)]
    return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
