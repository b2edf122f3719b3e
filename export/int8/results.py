"""What the int8 search finds out, as the manifest, the report and the table read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from ..check.edge_cases import MAX_INT8_RESPONSE_ERROR
from ..pareto_front import front
from ..parity import Agreement, Parity

LayerPrecision = Literal["int8", "float"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What int8 maps must keep against PyTorch's fp32 maps, on frames that took no part in calibration.

    Attributes:
        cc_mean: smallest mean correlation.
        cc_worst: smallest correlation of a frame.
        kldiv_mean: largest mean Kullback-Leibler divergence, in nats.
        kldiv_worst: largest divergence of a frame.
        peak_shift_p95: 95th percentile of the peak's movement, in cells.
        edge_cases: largest error of the response to edge-case frames, as a share of photographs' peak.
    """

    cc_mean: float = 0.998
    cc_worst: float = 0.99
    kldiv_mean: float = 0.002
    kldiv_worst: float = 0.01
    peak_shift_p95: float = 1.0
    edge_cases: float = MAX_INT8_RESPONSE_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFigures:
    """What maps keep of PyTorch's, over all frames; fields have the names of `GateLimits`.

    Attributes:
        cc_mean: mean correlation.
        cc_worst: smallest correlation.
        kldiv_mean: mean divergence, in nats.
        kldiv_worst: largest divergence.
        peak_shift_p95: 95th percentile of the peak's movement, in cells.
        worst_frames: names of the frames, the smallest correlation first.
    """

    cc_mean: float
    cc_worst: float
    kldiv_mean: float
    kldiv_worst: float
    peak_shift_p95: float
    worst_frames: tuple[str, ...]

    def failures(self, limits: GateLimits) -> list[str]:
        """Say which limits are passed over, as `CC worst .981 < .99`; nothing where the gate is open."""
        low = [
            f"CC {word} {format_beside(found, limit, '.5f')} < {limit:.12g}"
            for word, found, limit in (
                ("mean", self.cc_mean, limits.cc_mean),
                ("worst", self.cc_worst, limits.cc_worst),
            )
            if not found >= limit
        ]
        high = [
            f"{word} {format_beside(found, limit, '.3g')} > {limit:.12g}"
            for word, found, limit in (
                ("KLDiv mean", self.kldiv_mean, limits.kldiv_mean),
                ("KLDiv worst", self.kldiv_worst, limits.kldiv_worst),
                ("peak shift p95", self.peak_shift_p95, limits.peak_shift_p95),
            )
            if not found <= limit
        ]
        return low + high


def format_beside(value: float, limit: float, spec: str) -> str:
    """Text of a figure that compares with its limit as the figure does: 0.989997 beside 0.99 is not 0.99000.

    Args:
        value: the figure.
        limit: its limit.
        spec: the format where it has digits enough, such as `.5f`; else more digits are written.
    """
    text = format(value, spec)
    for finer in (".6g", ".9g", ".12g", ".17g"):
        read = float(text)
        if (read < limit, read > limit) == (value < limit, value > limit):
            break
        text = format(value, finer)
    return text


def gate_figures(frames: Mapping[str, Agreement], *, shown: int = 8) -> GateFigures:
    """Sum up the agreement of frames.

    Args:
        frames: agreement with PyTorch by the frame's name.
        shown: how many of the worst frames are named.
    """
    found = list(frames.values())
    ranked = sorted(frames, key=lambda name: frames[name].cc)
    return GateFigures(
        cc_mean=float(np.mean([frame.cc for frame in found])),
        cc_worst=min(frame.cc for frame in found),
        kldiv_mean=float(np.mean([frame.kldiv for frame in found])),
        kldiv_worst=max(frame.kldiv for frame in found),
        peak_shift_p95=float(np.percentile([frame.peak_shift_cells for frame in found], 95)),
        worst_frames=tuple(ranked[:shown]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDecision:
    """Why a convolution has the precision that it has.

    Attributes:
        node: its name in the ONNX file.
        precision: `int8`, or `float` where it stays in the precision of the graph's body.
        reason: in words.
        macs: multiplications of a frame.
        tensor: the activation that it reads.
        observer: whose threshold bounds that activation; None where the layer was never quantised.
        threshold: the largest activation that int8 holds; None as above.
        weight_scales: smallest and largest scale of its channels; None as above.
        sqnr_db: of its output, this layer alone in int8; None where it was not measured.
        cc_alone: smallest correlation of the maps with this layer alone in int8; None as above.
        kldiv_alone: largest divergence of these maps; None as above.
    """

    node: str
    precision: LayerPrecision
    reason: str
    macs: int
    tensor: str
    observer: str | None = None
    threshold: float | None = None
    weight_scales: tuple[float, float] | None = None
    sqnr_db: float | None = None
    cc_alone: float | None = None
    kldiv_alone: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoPoint:
    """One set of precisions that was tried.

    Attributes:
        step: what was done to reach it, such as `observers chosen`.
        int8_macs_share: share of the multiplications that are in int8, 0 to 1.
        kept_nodes: convolutions left in float.
        figures: of its maps.
        passed: whether the gate let it through.
    """

    step: str
    int8_macs_share: float
    kept_nodes: tuple[str, ...]
    figures: GateFigures
    passed: bool

    def merits(self) -> tuple[float, float, float]:
        """Give what the Pareto front weighs, larger being better: share and the worst frame's figures."""
        return self.int8_macs_share, self.figures.cc_worst, -self.figures.kldiv_worst


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Result:
    """What came out of the search.

    Attributes:
        limits: of the gate.
        figures: of the set that was chosen; of the best one where none passes.
        int8_macs_share: of that set, 0 to 1.
        layers: the decision on each convolution, in the graph's order.
        pareto: the sets that were tried, in the order of trial.
        taken: which of them was chosen, from 0; None where none passes.
        repairs: what was done to the weights, such as `bias correction`, in order.
        ranges: where the activation ranges are from: key, source, number of frames.
        parity: the chosen graph's agreement with PyTorch, frame by frame, on the gate's frames.
        passes: sets of precisions that were tried on the gate's frames.
        seconds: that it took.
        runtimes: what each installed runtime makes of the finished graph, by its name, as in the manifest.
        refusal: why the finished graph was refused although a set passes in the reference; else empty.
    """

    limits: GateLimits
    figures: GateFigures
    int8_macs_share: float
    layers: Sequence[LayerDecision]
    pareto: Sequence[ParetoPoint]
    taken: int | None
    repairs: Sequence[str]
    ranges: Mapping[str, Any]
    parity: Parity
    passes: int
    seconds: float
    runtimes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    refusal: str = ""

    @property
    def passed(self) -> bool:
        """Whether a set passes the gate; else there is no int8 graph."""
        return self.taken is not None

    def failures(self) -> list[str]:
        """Say why no int8 graph was made; nothing where there is one."""
        if self.passed:
            return []
        if self.refusal:
            return [self.refusal]
        return self.figures.failures(self.limits) or ["no layer is left in int8"]

    def front(self) -> list[int]:
        """Give the places in `pareto` of the sets that pass and that no other such set reaches in all."""
        passing = [place for place, point in enumerate(self.pareto) if point.passed]
        return [passing[found] for found in front([self.pareto[place].merits() for place in passing])]

    def kept(self) -> dict[str, str]:
        """Give the convolutions left in float and why."""
        return {layer.node: layer.reason for layer in self.layers if layer.precision == "float"}

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values, without the times that differ between runs."""
        return {
            "passed": self.passed,
            "limits": asdict(self.limits),
            "figures": plain(self.figures),
            "int8_macs_share": round(self.int8_macs_share, 5),
            "layers": [plain(layer) for layer in self.layers],
            "pareto": [plain(point) for point in self.pareto],
            "taken": self.taken,
            "repairs": list(self.repairs),
            "ranges": dict(self.ranges),
            "passes": self.passes,
            "runtimes": {name: dict(verdict) for name, verdict in self.runtimes.items()},
        }


def plain(value: GateFigures | LayerDecision | ParetoPoint) -> dict[str, Any]:
    """Give a record as plain JSON values, with the digits that two runs share."""
    rounded: dict[str, Any] = _rounded(asdict(value))
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, tuple | list) else value
