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
from ..layer_error import layer_errors
from ..ort_session import ort_maps
from ..speed import Speed
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
        fp32: the bundle's fp32 graph.
        others: its other graphs by precision, as they are measured: with fp16's rounding written out.
        frames: that the graphs were compared on.
        references: (K, h, w) PyTorch's maps of them.
        int8: what the search for an int8 graph found; None where none was asked for.
        ranges: that it was calibrated with; None as above.
        audit: of the calibration frames; None where they are not at hand.
        temporal: parity on a clip; None where it was not measured.
        speed: of int8 beside fp16 on this machine; None without int8.
    """

    contract: Contract
    manifest: Mapping[str, Any]
    fp32: onnx.ModelProto
    others: Mapping[Precision, onnx.ModelProto]
    frames: FrameSet
    references: NDArray[np.float32]
    int8: Int8Result | None = None
    ranges: ActivationRanges | None = None
    audit: FramesAudit | None = None
    temporal: TemporalParity | None = None
    speed: Speed | None = None


def report_bundle(folder: Path, material: Material) -> None:
    """Measure what the report shows, and write `report.html` and `report.json` into a bundle.

    Raises:
        OutputError: they cannot be written.
        BackendError: ONNX Runtime refuses a graph.
    """
    graphs = material.others or {"fp32": material.fp32}
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
        errors={
            precision: layer_errors(material.fp32, model, material.contract, frames.pixels)
            for precision, model in material.others.items()
        },
        int8=material.int8,
        ranges=material.ranges,
        audit=material.audit,
        temporal=material.temporal,
        speed=material.speed,
    )
    write_report(folder, findings)


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
