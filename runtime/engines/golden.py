"""The golden check: an engine's maps held against PyTorch's, on the device and without PyTorch.

A bundle carries a few real frames and PyTorch's maps of them (`golden.npz`).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..agreement import correlation, divergence
from ..errors import ArtifactError, ParityError
from ..golden import GoldenFrames
from ..tolerances import TOLERANCES, Tolerance
from .engine import Engine
from .photograph import infer_one


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenFrame:
    """How the map of one frame agrees with PyTorch's.

    Attributes:
        name: of the frame.
        max_abs: largest absolute difference of a cell; infinite where the map is not all numbers.
        cc: correlation; 1 for two constant maps.
        kldiv: Kullback-Leibler divergence from PyTorch's map, in nats.
        latency_ms: of the inference, from a frame in host memory to its map there.
    """

    name: str
    max_abs: float
    cc: float
    kldiv: float
    latency_ms: float

    def keeps(self, tolerance: Tolerance) -> bool:
        """Tell whether it lies within a tolerance."""
        return tolerance.allows(max_abs=self.max_abs, cc=self.cc)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenReport:
    """What the check found.

    Attributes:
        engine: backend, device and precision.
        tolerance: what is allowed.
        frames: at least one.
    """

    engine: str
    tolerance: Tolerance
    frames: tuple[GoldenFrame, ...]

    @property
    def kept(self) -> bool:
        """Whether all frames lie within the tolerance."""
        return all(frame.keeps(self.tolerance) for frame in self.frames)

    @property
    def worst(self) -> GoldenFrame:
        """The worst of each figure over the frames, with the median of the latencies."""
        return GoldenFrame(
            name="worst",
            max_abs=max(frame.max_abs for frame in self.frames),
            cc=min(frame.cc for frame in self.frames),
            kldiv=max(frame.kldiv for frame in self.frames),
            latency_ms=median(frame.latency_ms for frame in self.frames),
        )

    def check(self) -> None:
        """Hold every frame against the tolerance.

        Raises:
            ParityError: a frame lies outside; the worst one is named.
        """
        failing = [frame for frame in self.frames if not frame.keeps(self.tolerance)]
        if failing:
            frame, tolerance = max(failing, key=lambda item: item.max_abs), self.tolerance
            raise ParityError(
                f"{self.engine} differs from PyTorch on {len(failing)} of {len(self.frames)} golden frames, "
                f"most on {frame.name}: max abs {frame.max_abs:.2g} (at most {tolerance.max_abs:g}), "
                f"CC {frame.cc:.6f} (at least {tolerance.min_cc}). Try another --precision"
            )

    def to_json(self) -> dict[str, Any]:
        """Give all of it as plain JSON values."""
        return {**asdict(self), "worst": asdict(self.worst), "kept": self.kept}

    def to_text(self) -> str:
        """Give it as a table of at most 80 columns."""
        rows = [f"{'frame':32}{'max abs':>10}{'CC':>12}{'KLDiv':>12}{'ms':>10}"]
        rows += [
            f"{row.name[:31]:32}{row.max_abs:10.2g}{row.cc:12.6f}{row.kldiv:12.2g}{row.latency_ms:10.2f}"
            for row in (*self.frames, self.worst)
        ]
        allowed = f"at most {self.tolerance.max_abs:g}, CC at least {self.tolerance.min_cc}"
        verdict = "agrees with PyTorch" if self.kept else "differs from PyTorch"
        return "\n".join([*rows, "", f"{self.engine}: {verdict} (max abs {allowed})"])


def check_golden(engine: Engine, golden: Path, *, on_gpu: bool) -> GoldenReport:
    """Run the golden frames through an engine and compare its maps with PyTorch's.

    Args:
        engine: of the bundle that the golden frames are from.
        golden: the bundle's `golden.npz`.
        on_gpu: whether fp16 is rounded in every layer, as it is there and not in ONNX Runtime on a CPU.

    Raises:
        ArtifactError: the golden frames cannot be read, or are not for this engine.
        BackendError: the engine fails.
    """
    frames = _frames_for(engine, golden)
    precision = engine.contract.precision
    rounded = f"{precision}_rounded" if on_gpu else precision
    return GoldenReport(
        engine=engine.description,
        tolerance=TOLERANCES.get(rounded, TOLERANCES[precision]),
        frames=tuple(
            _compared(engine, name, frame, reference)
            for name, frame, reference in zip(frames.names, frames.pixels, frames.maps, strict=True)
        ),
    )


def _frames_for(engine: Engine, path: Path) -> GoldenFrames:
    """Read the golden frames, and see that they are for this engine."""
    golden, contract = GoldenFrames.read(path), engine.contract
    if golden.pixels.shape[1:] != (*contract.size_hw, 3) or golden.maps.shape[1:] != contract.map_size_hw:
        raise ArtifactError(
            f"{path} holds frames {golden.pixels.shape} and maps {golden.maps.shape}, which are not for "
            f"{contract.network}. Export the bundle again: saliency-export"
        )
    return golden


def _compared(
    engine: Engine, name: str, frame: NDArray[np.uint8], reference: NDArray[np.float32]
) -> GoldenFrame:
    """Run one frame, and time it."""
    start_s = time.perf_counter()
    found = infer_one(engine, frame)
    latency_ms = (time.perf_counter() - start_s) * 1e3
    if not np.isfinite(found).all():
        return GoldenFrame(name=name, max_abs=np.inf, cc=0.0, kldiv=np.inf, latency_ms=latency_ms)
    return GoldenFrame(
        name=name,
        max_abs=float(np.abs(found.astype(np.float64) - reference).max()),
        cc=correlation(found, reference),
        kldiv=divergence(found, reference),
        latency_ms=latency_ms,
    )
