"""Maps of an exported graph held against PyTorch's, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.contract import Precision
from ..runtime.errors import ParityError
from ..runtime.parity import TOLERANCES, Tolerance, correlation, divergence
from ..runtime.progress import progress

if TYPE_CHECKING:
    from ..train.checkpoint import Checkpoint

PEAK_TIE = 1 / 255
"""Cells this close to a map's maximum are its peak too: one level of an 8-bit picture."""
_SQNR_CEILING_DB = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a map agrees with PyTorch's.

    Attributes:
        max_abs: largest absolute difference of a cell.
        mean_abs: mean absolute difference.
        sqnr_db: signal to quantisation noise, in dB; 200 for equal maps.
        cc: correlation; 1 for two constant maps.
        kldiv: Kullback-Leibler divergence from PyTorch's map, in nats.
        peak_shift_cells: see `peak_shift`.
    """

    max_abs: float
    mean_abs: float
    sqnr_db: float
    cc: float
    kldiv: float
    peak_shift_cells: float

    def keeps(self, tolerance: Tolerance) -> bool:
        """Tell whether it lies within a tolerance."""
        return tolerance.allows(max_abs=self.max_abs, cc=self.cc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How an exported graph agrees with PyTorch.

    Attributes:
        precision: of the graph.
        frames: the agreement on each frame, by its name.
        rounded: whether it ran with its rounding written out, see `rounding.py`.
        reference: what it was compared with.
    """

    precision: Precision
    frames: dict[str, Agreement]
    rounded: bool = False
    reference: str = "PyTorch"

    @property
    def label(self) -> str:
        """Name of the row in tables: `fp16`, `fp16_rounded`."""
        return f"{self.precision}_rounded" if self.rounded else self.precision

    @property
    def tolerance(self) -> Tolerance:
        """What is allowed."""
        return TOLERANCES["int8" if self.precision == "int8" else self.label]

    def worst(self) -> Agreement:
        """Give the worst value of each figure over the frames."""
        found = list(self.frames.values())
        return Agreement(
            max_abs=max(frame.max_abs for frame in found),
            mean_abs=max(frame.mean_abs for frame in found),
            sqnr_db=min(frame.sqnr_db for frame in found),
            cc=min(frame.cc for frame in found),
            kldiv=max(frame.kldiv for frame in found),
            peak_shift_cells=max(frame.peak_shift_cells for frame in found),
        )

    def check(self) -> None:
        """Hold every frame against the tolerance.

        Raises:
            ParityError: a frame lies outside; the worst one is named.
        """
        failing = {name: frame for name, frame in self.frames.items() if not frame.keeps(self.tolerance)}
        if not failing:
            return
        name, frame = max(failing.items(), key=lambda item: item[1].max_abs)
        raise ParityError(
            f"{self.label} differs from {self.reference} on {len(failing)} of {len(self.frames)} frames, "
            f"most on {name}: max abs {frame.max_abs:.2g} (at most {self.tolerance.max_abs:g}), "
            f"CC {frame.cc:.6f} (at least {self.tolerance.min_cc}). Nothing was written"
        )

    def to_json(self) -> dict[str, object]:
        """Give the worst values, the tolerance and the frames as plain JSON values."""
        return {
            "worst": _rounded(self.worst()),
            "tolerance": asdict(self.tolerance),
            "frames": {name: _rounded(frame) for name, frame in self.frames.items()},
        }


def reference_maps(checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute saliency maps with PyTorch in float32 on the CPU, one frame at a time.

    Args:
        checkpoint: the network.
        pixels: (K, H, W, 3) BGR, at the network's size.

    Returns:
        (K, h, w) maps, 0 to 1.
    """
    import torch

    from ..train.networks.saliency_network import DeployGraph

    graph, maps = DeployGraph(checkpoint.network).eval(), []
    with torch.inference_mode(), progress("reference maps, PyTorch", len(pixels)) as advance:
        for frame in pixels:
            maps.append(graph(torch.from_numpy(frame)[None]).numpy())
            advance()
    return np.concatenate(maps)


def compare(
    precision: Precision,
    names: Sequence[str],
    maps: NDArray[np.float32],
    references: NDArray[np.float32],
    *,
    rounded: bool = False,
    reference: str = "PyTorch",
) -> Parity:
    """Compare maps frame by frame.

    Args:
        precision: of the graph that made `maps`.
        names: of the frames.
        maps: (K, h, w), 0 to 1.
        references: (K, h, w), PyTorch's.
        rounded: whether `maps` are those of a graph with its rounding written out.
        reference: what gave `references`.

    Raises:
        ParityError: a map holds NaN.
    """
    parity = Parity(precision=precision, frames={}, rounded=rounded, reference=reference)
    for name, found, expected in zip(names, maps, references, strict=True):
        if not np.isfinite(found).all():
            raise ParityError(f"{parity.label} gives NaN on {name}. Nothing was written")
        parity.frames[name] = agreement(found, expected)
    return parity


def agreement(found: NDArray[np.float32], reference: NDArray[np.float32]) -> Agreement:
    """Compare a map with PyTorch's; both are (h, w)."""
    difference = np.abs(found.astype(np.float64) - reference)
    return Agreement(
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        sqnr_db=_sqnr_db(reference, difference),
        cc=correlation(found, reference),
        kldiv=divergence(found, reference),
        peak_shift_cells=peak_shift(found, reference),
    )


def peak_shift(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Measure how far the peak has moved, in cells.

    The Euclidean distance from the map's first maximum to the nearest cell of the reference's peak. The peak
    is every cell within `PEAK_TIE` of the maximum, so plateaus and twins do not count as movement.

    Args:
        found: (h, w) map.
        reference: (h, w), PyTorch's.
    """
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    peak = np.argwhere(reference >= reference.max() - PEAK_TIE)
    return float(np.hypot(*(peak - (row, column)).T).min())


def _sqnr_db(reference: NDArray[np.float32], difference: NDArray[np.float64]) -> float:
    signal, noise = float(np.sum(reference.astype(np.float64) ** 2)), float(np.sum(difference**2))
    if noise == 0:
        return _SQNR_CEILING_DB
    return min(_SQNR_CEILING_DB, 10 * float(np.log10(max(signal, np.finfo(float).tiny) / noise)))


def _rounded(values: Agreement) -> dict[str, float]:
    """Keep the digits that two runs share."""
    digits = {"cc": 8}
    return {name: float(f"{value:.{digits.get(name, 4)}g}") for name, value in asdict(values).items()}
