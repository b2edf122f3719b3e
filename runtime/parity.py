"""Parity: whether maps are PyTorch's. The measures, the tolerances, the golden frames and the one verdict.

A bundle carries a few real frames and PyTorch's maps of them (`golden.npz`), so that the check needs no
PyTorch on the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .arrays import read_arrays
from .backends.backend import Model, infer_one
from .contract import Arithmetic, Precision
from .errors import ArtifactError, ParityError
from .metrics import cc, kldiv

NO_PROMISES: Mapping[str, Mapping[str, float]] = MappingProxyType({})


def correlation(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Correlate two maps of one size, (h, w); unlike for the metric, two constant maps agree: 1."""
    return 1.0 if np.ptp(found) == np.ptp(reference) == 0 else cc(found, reference)


def divergence(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """KLDiv of a map from the reference, in nats; rounding may take the metric below 0, not this."""
    return max(0.0, kldiv(found, reference))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What a frame may show.

    Attributes:
        max_abs: largest absolute difference of a cell, on maps in 0 to 1.
        min_cc: smallest correlation.
        max_kldiv: largest Kullback-Leibler divergence, in nats.
    """

    max_abs: float
    min_cc: float
    max_kldiv: float = math.inf

    def allows(self, *, max_abs: float, cc: float, kldiv: float = 0.0) -> bool:
        """Tell whether a frame's figures lie within it."""
        return max_abs <= self.max_abs and cc >= self.min_cc and kldiv <= self.max_kldiv


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_abs=1e-4, min_cc=0.99999),
    # Its weights are rounded, what lies between the layers is not: ONNX Runtime on most CPUs.
    "fp16": Tolerance(max_abs=4e-3, min_cc=0.9999),
    # Rounded between the layers too. Where a map's peak is small, x / max x magnifies the rounding of all
    # layers, so it is the correlation that counts; the difference catches what overflows.
    "fp16_rounded": Tolerance(max_abs=2e-2, min_cc=0.9999),
    # bfloat16 keeps 8 bits of a number where fp16 keeps 11: eight times as coarse. Measured .009 and .99999.
    "bf16": Tolerance(max_abs=5e-2, min_cc=0.9995),
    # The gate's limits for a single frame; `promised_tolerance` narrows them to what the export has measured.
    "int8": Tolerance(max_abs=0.5, min_cc=0.99, max_kldiv=0.01),
}
"""By what is rounded, and how; the labels of the parity table's rows."""


def tolerance_for(precision: Precision, arithmetic: Arithmetic) -> Tolerance:
    """Look up what a model may show: the one rule for every backend, by what that really rounds.

    Args:
        precision: of the model's file.
        arithmetic: what the backend rounds to between layers.
    """
    if precision == "int8" or arithmetic in ("fp32", "int8"):
        return TOLERANCES[precision]
    return TOLERANCES["bf16" if arithmetic == "bf16" else "fp16_rounded"]


def promised_tolerance(promise: Mapping[str, float], general: Tolerance) -> Tolerance:
    """Narrow an int8 model's tolerance on a frame to what the export has measured there.

    A model whose scales were damaged may well stay within the gate's limits, but not near its own figures.
    Why the margin is what it is: `docs/adr/061-int8-keeps-its-promise.md`.

    Args:
        promise: `max_abs`, `cc` and `kldiv` of the frame, from the manifest's parity.
        general: what is allowed at most.
    """
    error = PROMISE_FACTOR * (1 - promise["cc"]) + PROMISE_MARGIN
    return Tolerance(
        max_abs=min(general.max_abs, PROMISE_FACTOR * promise["max_abs"] + PROMISE_MARGIN_ABS),
        min_cc=max(general.min_cc, round(1 - error, 6)),
        max_kldiv=min(general.max_kldiv, PROMISE_FACTOR * promise["kldiv"] + PROMISE_MARGIN),
    )


PROMISE_FACTOR = 2.0
PROMISE_MARGIN = 2e-4  # of 1 - CC and of KLDiv, in nats
PROMISE_MARGIN_ABS = 0.02


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
        remedy = "Export the bundle again: saliency-export"
        arrays = read_arrays(path, remedy=remedy)
        for name, ndim, kind in (("names", 1, "U"), ("frames", 4, "u"), ("maps", 3, "f")):
            found = arrays.get(name)
            if found is None or found.ndim != ndim or found.dtype.kind != kind:
                what = "missing" if found is None else f"{found.dtype} {found.shape}"
                raise ArtifactError(f"{path} holds no golden frames: {name} is {what}. {remedy}")
        golden = cls(
            names=tuple(map(str, arrays["names"])),
            pixels=np.ascontiguousarray(arrays["frames"], np.uint8),
            maps=np.asarray(arrays["maps"], np.float32),
        )
        if not len(golden.names) == len(golden.pixels) == len(golden.maps) > 0:
            raise ArtifactError(f"{path} holds no golden frames. {remedy}")
        if not np.isfinite(golden.maps).all():
            raise ArtifactError(f"{path}: PyTorch's maps are not all numbers. {remedy}")
        return golden


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenFrame:
    """How the map of one frame agrees with PyTorch's.

    Attributes:
        name: of the frame.
        max_abs: largest absolute difference of a cell; infinite where the map is not all numbers.
        cc: correlation; 1 for two constant maps.
        kldiv: Kullback-Leibler divergence from PyTorch's map, in nats.
        allowed: what it may show.
    """

    name: str
    max_abs: float
    cc: float
    kldiv: float
    allowed: Tolerance

    @property
    def passed(self) -> bool:
        """Whether it lies within its tolerance."""
        return self.allowed.allows(max_abs=self.max_abs, cc=self.cc, kldiv=self.kldiv)

    @property
    def excess(self) -> str:
        """What lies outside the tolerance, and by how much; empty where nothing does."""
        limits = self.allowed
        parts = (
            (self.max_abs > limits.max_abs, f"max abs {self.max_abs:.2g} (at most {limits.max_abs:.2g})"),
            (self.cc < limits.min_cc, f"CC {self.cc:.6f} (at least {limits.min_cc:g})"),
            (self.kldiv > limits.max_kldiv, f"KLDiv {self.kldiv:.2g} (at most {limits.max_kldiv:.2g})"),
        )
        return ", ".join(text for is_outside, text in parts if is_outside)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenReport:
    """What the golden check found.

    Attributes:
        model: backend, device and precision.
        frames: at least one.
        latency_ms: median time of an inference, from a frame in host memory to its map there.
    """

    model: str
    frames: tuple[GoldenFrame, ...]
    latency_ms: float

    @property
    def passed(self) -> bool:
        """Whether all frames lie within their tolerance."""
        return all(frame.passed for frame in self.frames)

    @property
    def max_abs(self) -> float:
        """Largest absolute difference over the frames."""
        return max(frame.max_abs for frame in self.frames)

    @property
    def cc(self) -> float:
        """Smallest correlation over the frames."""
        return min(frame.cc for frame in self.frames)

    @property
    def kldiv(self) -> float:
        """Largest Kullback-Leibler divergence over the frames, in nats."""
        return max(frame.kldiv for frame in self.frames)

    @property
    def problem(self) -> str | None:
        """What is wrong, in a clause; None where the check has passed. The worst frame is named."""
        failing = [frame for frame in self.frames if not frame.passed]
        if not failing:
            return None
        worst = min(failing, key=lambda frame: frame.cc)
        count = f"{len(failing)} of {len(self.frames)} golden frames"
        return f"differs from PyTorch on {count}, most on {worst.name}: {worst.excess}"

    def check(self) -> None:
        """Raise the verdict.

        Raises:
            ParityError: a frame lies outside; the worst one is named.
        """
        if self.problem is not None:
            raise ParityError(f"{self.model} {self.problem}. Try another --precision or --backend")


def check_golden(
    model: Model,
    golden: Path,
    *,
    promises: Mapping[str, Mapping[str, float]] = NO_PROMISES,
    time_s: float = 0.0,
    give_up_ms: float = math.inf,
) -> GoldenReport | None:
    """Run the golden frames through a model, compare its maps with PyTorch's, and time it.

    Args:
        model: of the bundle that the golden frames are from.
        golden: the bundle's `golden.npz`.
        promises: of an int8 model, by the frame's name: its figures in the manifest.
        time_s: for how long inferences are timed, beyond one of each frame.
        give_up_ms: latency from which on nobody wants the model.

    Returns:
        None where the first two inferences have taken longer than `give_up_ms` each.

    Raises:
        ArtifactError: the golden frames cannot be read, or are not for this model.
        BackendError: the model fails.
    """
    frames = _frames_for(model, golden)
    limits = tolerance_for(model.contract.precision, model.arithmetic)
    if (
        _latency_ms(model, frames.pixels[0]) > give_up_ms
        and _latency_ms(model, frames.pixels[0]) > give_up_ms
    ):
        return None
    results, latencies_ms, start_s = [], [], time.monotonic()
    for name, frame, reference in zip(frames.names, frames.pixels, frames.maps, strict=True):
        before_s = time.perf_counter()
        found = infer_one(model, frame)
        latencies_ms.append((time.perf_counter() - before_s) * 1e3)
        allowed = promised_tolerance(promises[name], limits) if name in promises else limits
        results.append(_compared(name, found, reference, allowed))
    while time.monotonic() - start_s < time_s:
        latencies_ms.append(_latency_ms(model, frames.pixels[0]))
    return GoldenReport(model=model.description, frames=tuple(results), latency_ms=median(latencies_ms))


def _frames_for(model: Model, path: Path) -> GoldenFrames:
    """Read the golden frames, and make sure that they are for this model."""
    golden, contract = GoldenFrames.read(path), model.contract
    if golden.pixels.shape[1:] != (*contract.size_hw, 3) or golden.maps.shape[1:] != contract.map_size_hw:
        raise ArtifactError(
            f"{path} holds frames {golden.pixels.shape} and maps {golden.maps.shape}, which are not for "
            f"{contract.network}. Export the bundle again: saliency-export"
        )
    return golden


def _latency_ms(model: Model, frame: NDArray[np.uint8]) -> float:
    start_s = time.perf_counter()
    infer_one(model, frame)
    return (time.perf_counter() - start_s) * 1e3


def _compared(
    name: str, found: NDArray[np.float32], reference: NDArray[np.float32], allowed: Tolerance
) -> GoldenFrame:
    if not np.isfinite(found).all():
        return GoldenFrame(name=name, max_abs=math.inf, cc=0.0, kldiv=math.inf, allowed=allowed)
    return GoldenFrame(
        name=name,
        max_abs=float(np.abs(found.astype(np.float64) - reference).max()),
        cc=correlation(found, reference),
        kldiv=divergence(found, reference),
        allowed=allowed,
    )
