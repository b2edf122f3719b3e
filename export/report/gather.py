"""From the graphs of an export to its report: maps of the worst frames, and errors layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...calib.audit import FramesAudit
from ...calib.ranges import ActivationRanges
from ...runtime.contract import Contract, Precision
from ..frames import FrameSet
from ..int8.results import Int8Result
from ..layer_error import LayerError, layer_errors
from ..ort_session import ort_maps
from ..rounding import rounded_as_fp16
from ..temporal import TemporalParity
from .findings import Findings, ShownMaps
from .page import write_report

if TYPE_CHECKING:
    import onnx

SHOWN_FRAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a report is made from.

    Attributes:
        contract: of the fp32 graph.
        manifest: the content of the bundle's manifest.json.
        models: the bundle's graphs by precision, fp32 among them.
        kept_fp32: nodes of the fp16 graph that stay fp32.
        frames: that the graphs were compared on.
        references: (K, h, w) PyTorch's maps of them.
        int8: what the search for an int8 graph found; None where none was asked for.
        ranges: that it was calibrated with; None as above.
        audit: of the calibration frames; None where they are not at hand.
        temporal: parity on a clip; None where it was not measured.
    """

    contract: Contract
    manifest: Mapping[str, Any]
    models: Mapping[Precision, onnx.ModelProto]
    kept_fp32: Mapping[str, str]
    frames: FrameSet
    references: NDArray[np.float32]
    int8: Int8Result | None = None
    ranges: ActivationRanges | None = None
    audit: FramesAudit | None = None
    temporal: TemporalParity | None = None


def report_bundle(folder: Path, material: Material) -> None:
    """Measure what the report shows, and write `report.html` and `report.json` into a bundle.

    Raises:
        OutputError: they cannot be written.
        BackendError: ONNX Runtime refuses a graph.
    """
    graphs = _measured_graphs(material)
    places = [material.frames.names.index(name) for name in _worst(material)]
    frames = FrameSet(
        names=tuple(material.frames.names[place] for place in places), pixels=material.frames.pixels[places]
    )
    findings = Findings(
        contract=material.contract,
        manifest=material.manifest,
        shown=ShownMaps(
            frames=frames,
            references=material.references[places],
            maps=_maps(graphs, material.contract, frames),
        ),
        errors=_errors(graphs, material, frames),
        int8=material.int8,
        ranges=material.ranges,
        audit=material.audit,
        temporal=material.temporal,
    )
    write_report(folder, findings)


def _measured_graphs(material: Material) -> dict[Precision, onnx.ModelProto]:
    """Give the graphs to show, fp16 with its rounding written out; fp32 where there is no other."""
    graphs = dict(material.models)
    if "fp16" in graphs:
        graphs["fp16"] = rounded_as_fp16(graphs["fp32"], material.kept_fp32)
    if len(graphs) > 1:
        del graphs["fp32"]
    return graphs


def _worst(material: Material) -> list[str]:
    """Name the frames whose maps correlate least in the smallest graph."""
    if material.int8 is not None and material.int8.passed:
        return list(material.int8.figures.worst_frames[:SHOWN_FRAMES])
    rows = list(material.manifest["parity"].values())[-1]["frames"]
    return sorted(rows, key=lambda name: float(rows[name]["cc"]))[:SHOWN_FRAMES]


def _maps(
    graphs: Mapping[Precision, onnx.ModelProto], contract: Contract, frames: FrameSet
) -> dict[Precision, NDArray[np.float32]]:
    return {
        precision: ort_maps(model, replace(contract, precision=precision), frames.pixels)
        for precision, model in graphs.items()
    }


def _errors(
    graphs: Mapping[Precision, onnx.ModelProto], material: Material, frames: FrameSet
) -> dict[Precision, list[LayerError]]:
    fp32 = material.models["fp32"]
    return {
        precision: layer_errors(fp32, model, material.contract, frames.pixels)
        for precision, model in graphs.items()
        if precision != "fp32"
    }
