"""A baseline: the figures of a run that later runs are held against, as a file of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import read_json, write_json
from ..errors import ArtifactError
from .accuracy import Golden, MapSample
from .figures import BenchResult, ModelFigures

SCHEMA = 1
_REMEDY = "Make it again: saliency-bench MODEL... --save"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineModel:
    """What a baseline knows of one model; None and empty where it was not measured.

    Attributes:
        repeats: of the reference, for one turn.
        ratios: of each stage to the reference's, one a round.
        latency_ms: p50 of each stage, for people to read.
        start_up_ratios: of cold starts to the reference model's.
        peak_rss_mb: of a cold start.
        allocated_bytes: by stage.
        macs: of the graph.
        operators: of the graph, by kind.
        golden: differences from PyTorch.
        samples: maps of pictures.
    """

    repeats: int
    ratios: Mapping[str, NDArray[np.float64]]
    latency_ms: Mapping[str, float]
    start_up_ratios: NDArray[np.float64] | None
    peak_rss_mb: float | None
    allocated_bytes: Mapping[str, int]
    macs: int | None
    operators: Mapping[str, int]
    golden: Golden | None
    samples: Mapping[str, MapSample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Figures to be held against.

    Attributes:
        path: of the file.
        machine: what they were taken on.
        models: by name.
        base_install_mb: all distributions together.
    """

    path: Path
    machine: Mapping[str, Any]
    models: Mapping[str, BaselineModel]
    base_install_mb: float

    @property
    def repeats(self) -> dict[str, int]:
        """How often the reference ran for one turn, by model: a check has to do the same."""
        return {name: model.repeats for name, model in self.models.items()}


def save_baseline(result: BenchResult, path: Path) -> None:
    """Write a run's figures as a baseline.

    Raises:
        OutputError: the file cannot be written.
    """
    document = {
        "schema": SCHEMA,
        "machine": dict(result.machine),
        "base_install_mb": round(sum(result.base_install_mb.values()), 1),
        "models": {model.name: _model_json(model) for model in result.models},
    }
    write_json(path, document)


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        ArtifactError: the file is missing or is none.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or "models" not in document:
        raise ArtifactError(f"{path} is no baseline of this version. {_REMEDY} {path}")
    try:
        return Baseline(
            path=path,
            machine=document["machine"],
            models={name: _model_of(values) for name, values in document["models"].items()},
            base_install_mb=float(document["base_install_mb"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged: {error!r}. {_REMEDY} {path}") from error


def _model_json(model: ModelFigures) -> dict[str, Any]:
    """Take from a model's figures what is held; what is only told stays out."""
    figures = model.to_json()
    reference, start_up, cost = figures["reference"], figures["start_up"], figures["cost"]
    latency = model.cases[0].alone.latency
    return {
        "engine": figures["engine"],
        "repeats": reference["repeats"],
        "ratios": {stage: _line_of(ratios) for stage, ratios in reference["ratios"].items()},
        "latency_ms": {stage: round(values.p50_ms, 3) for stage, values in latency.items()},
        "start_up_ratios": _line_of(start_up["ratios"]) if start_up else None,
        "peak_rss_mb": start_up["peak_rss_mb"] if start_up else None,
        "allocated_bytes": figures["allocated_bytes"],
        "macs": cost["macs"] if cost else None,
        "operators": cost["operators"] if cost else {},
        "golden": figures["golden"],
        "samples": {name: _sample_json(sample) for name, sample in model.samples.items()},
    }


def _sample_json(sample: MapSample) -> dict[str, Any]:
    return {"map_hw": list(sample.map_hw), "levels": _line_of(sample.levels)}


def _line_of(values: Sequence[float]) -> str:
    """Write numbers as one line of text: a list would take a line for each."""
    return " ".join(str(value) for value in values)


def _numbers_in(line: str) -> NDArray[np.float64]:
    return np.array([float(word) for word in line.split()])


def _model_of(values: Mapping[str, Any]) -> BaselineModel:
    start_ups, golden = values["start_up_ratios"], values["golden"]
    return BaselineModel(
        repeats=int(values["repeats"]),
        ratios={stage: _numbers_in(ratios) for stage, ratios in values["ratios"].items()},
        latency_ms=values["latency_ms"],
        start_up_ratios=None if start_ups is None else _numbers_in(start_ups),
        peak_rss_mb=values["peak_rss_mb"],
        allocated_bytes=values["allocated_bytes"],
        macs=values["macs"],
        operators=values["operators"],
        golden=Golden(**golden) if golden else None,
        samples={name: _sample_of(sample) for name, sample in values["samples"].items()},
    )


def _sample_of(values: Mapping[str, Any]) -> MapSample:
    height, width = values["map_hw"]
    return MapSample(
        map_hw=(int(height), int(width)), levels=tuple(int(level) for level in values["levels"].split())
    )
