"""What a run shows: a progress bar or plain lines, TensorBoard scalars and picture grids."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .batches import Batch
from .networks.saliency_network import SaliencyNetwork
from .validate import Validation, mean_over_sets

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
