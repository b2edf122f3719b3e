"""Parity: whether maps are PyTorch's. The measures, the tolerances, the golden frames and the one verdict.

A bundle carries a few real frames and PyTorch's maps of them (`golden.npz`), so that the check needs no
PyTorch on the device.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends.backend import Model, infer_one
from .errors import ArtifactError, ParityError
from .metrics import cc, kldiv


def correlation(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Correlate two maps of one size, (h, w); unlike for the metric, two constant maps agree: 1."""
    return 1.0 if np.ptp(found) == np.ptp(reference) == 0 else cc(found, reference)


def divergence(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Give the KLDiv of a map from the reference, in nats; rounding may take the metric below 0, not this."""
    return max(0.0, kldiv(found, reference))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What the worst frame may show.

    Attributes:
        max_abs: largest absolute difference of a cell, on maps in 0 to 1.
        min_cc: smallest correlation.
    """

    max_abs: float
    min_cc: float

    def allows(self, *, max_abs: float, cc: float) -> bool:
        """Tell whether a frame's figures lie within it."""
        return max_abs <= self.max_abs and cc >= self.min_cc


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_abs=1e-4, min_cc=0.99999),
    "fp16": Tolerance(max_abs=4e-3, min_cc=0.9999),
    # With its rounding written out. Where a map's peak is small, x / max x magnifies the rounding of all
    # layers, so it is the correlation that counts; the difference catches what overflows.
    "fp16_rounded": Tolerance(max_abs=2e-2, min_cc=0.9999),
    # What counts is the gate of the export, on more frames than these; here a file that is broken is caught.
    "int8": Tolerance(max_abs=0.5, min_cc=0.99),
}
"""By the label of a row in the parity table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenFrames:
    """What `golden.npz` holds.

    Attributes:
        names: of the K frames.
        pixels: (K, H, W, 3) uint8 BGR, at the network's size.
        maps: (K, h, w) float32, 0 to 1, PyTorch's.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    maps: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> GoldenFrames:
        """Read a bundle's `golden.npz`.

        Raises:
            ArtifactError: it is missing, damaged, or holds no frames.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                golden = cls(
                    names=tuple(map(str, arrays["names"])), pixels=arrays["frames"], maps=arrays["maps"]
                )
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ArtifactError(
                f"{path} holds no golden frames ({error}). Export the bundle again: saliency-export"
            ) from error
        if not len(golden.names) == len(golden.pixels) == len(golden.maps) > 0:
            raise ArtifactError(f"{path} holds no golden frames. Export the bundle again: saliency-export")
        return golden


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


def check_golden(engine: Model, golden: Path, *, on_gpu: bool) -> GoldenReport:
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


def _frames_for(engine: Model, path: Path) -> GoldenFrames:
    """Read the golden frames, and see that they are for this engine."""
    golden, contract = GoldenFrames.read(path), engine.contract
    if golden.pixels.shape[1:] != (*contract.size_hw, 3) or golden.maps.shape[1:] != contract.map_size_hw:
        raise ArtifactError(
            f"{path} holds frames {golden.pixels.shape} and maps {golden.maps.shape}, which are not for "
            f"{contract.network}. Export the bundle again: saliency-export"
        )
    return golden


def _compared(
    engine: Model, name: str, frame: NDArray[np.uint8], reference: NDArray[np.float32]
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
