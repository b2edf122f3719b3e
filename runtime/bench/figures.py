"""All that a run of `saliency-bench` found out, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import Contract
from .accuracy import Golden, MapSample
from .alone import Alone
from .graph_cost import GraphCost
from .roofline import Roofline
from .startup import StartUp
from .statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model alone, at one size of frames and one batch.

    Attributes:
        size_hw: of the frames before the fit, in pixels.
        batch: frames that are inferred at once.
        alone: what was measured.
    """

    size_hw: tuple[int, int]
    batch: int
    alone: Alone


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstReference:
    """Each stage's time in units of fixed work that took turns with it.

    Attributes:
        repeats: how often the reference's convolutions ran for one turn.
        ratios: by stage, one a round.
    """

    repeats: int
    ratios: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """What was measured of one model.

    Attributes:
        name: network, precision and size; the same for the same model on every machine.
        engine: what ran it.
        contract: of the model.
        cases: every size and batch; the first is the one that baselines hold.
        allocated_bytes: that each stage holds at most, by itself.
        cost: of the graph; None where there is no ONNX file.
        golden: against PyTorch; None where there are no golden frames.
        samples: maps of pictures that are not of the network's size.
        start_up: cold processes; None where they were not asked for.
        reference: None where it was not asked for.
    """

    name: str
    engine: str
    contract: Contract
    cases: Sequence[Case]
    allocated_bytes: Mapping[str, int]
    cost: GraphCost | None
    golden: Golden | None
    samples: Mapping[str, MapSample]
    start_up: StartUp | None
    reference: AgainstReference | None

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "name": self.name,
            "engine": self.engine,
            "contract": asdict(self.contract),
            "cases": [_case_json(case) for case in self.cases],
            "allocated_bytes": dict(self.allocated_bytes),
            "cost": asdict(self.cost) if self.cost else None,
            "golden": asdict(self.golden) if self.golden else None,
            "samples": {name: asdict(sample) for name, sample in self.samples.items()},
            "start_up": _start_up_json(self.start_up) if self.start_up else None,
            "reference": _reference_json(self.reference) if self.reference else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What was measured of all models, and of the machine.

    Attributes:
        models: in the order given.
        against_first: how long a frame takes in units of the first model's, by name, measured in turn.
        roofline: of the device; None where it was not asked for.
        base_install_mb: by distribution.
        machine: what it ran on.
    """

    models: Sequence[ModelFigures]
    against_first: Mapping[str, Interval]
    roofline: Roofline | None
    base_install_mb: Mapping[str, float]
    machine: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "schema": 1,
            "machine": dict(self.machine),
            "models": [model.to_json() for model in self.models],
            "against_first": {name: ratio.to_json() for name, ratio in self.against_first.items()},
            "roofline": asdict(self.roofline) if self.roofline else None,
            "base_install_mb": {name: round(size, 2) for name, size in self.base_install_mb.items()},
        }


def _case_json(case: Case) -> dict[str, Any]:
    alone = case.alone
    return {
        "size_hw": case.size_hw,
        "batch": case.batch,
        "latency": {stage: asdict(latency) for stage, latency in alone.latency.items()},
        "frames": alone.frames,
        "warm_up_frames": alone.warm_up_frames,
        "is_steady": alone.is_steady,
        "frames_per_s": alone.frames_per_s,
        "growth_mb_per_100_frames": alone.growth_mb.to_json() if alone.growth_mb else None,
        "board": dict(alone.board.means),
        "joule_per_frame": alone.joule_per_frame(),
    }


def _start_up_json(start_up: StartUp) -> dict[str, Any]:
    return {
        "first_map_s": start_up.first_map_s,
        "load_s": start_up.load_s,
        "peak_rss_mb": start_up.peak_rss_mb,
        "ratios": _rounded(start_up.ratios),
    }


def _reference_json(reference: AgainstReference) -> dict[str, Any]:
    return {
        "repeats": reference.repeats,
        "ratios": {stage: _rounded(ratios) for stage, ratios in reference.ratios.items()},
    }


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
