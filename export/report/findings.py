"""What an export measured, as the content of `report.json`: verdict, gate, layers, Pareto candidates,
lineage.

The page shows figures of this JSON and no others. Its keys are a file format, which `SCHEMA` numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calib.audit import FramesAudit, audit_json
from ...calib.ranges import ActivationRanges
from ...runtime.artifact import finite
from ...runtime.contract import Contract, Precision
from ..frames import FrameSet
from ..int8.results import Int8Result, LayerDecision, plain
from ..layer_error import LayerError
from ..parity import agreement
from ..speed import Speed
from ..temporal import TemporalParity

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMaps:
    """Frames that the report shows, the worst first.

    Attributes:
        frames: K frames at the network's input size, uint8 BGR.
        references: PyTorch's fp32 maps, (K, h, w), 0 to 1.
        maps: each exported graph's maps, (K, h, w), 0 to 1, by precision.
    """

    frames: FrameSet
    references: NDArray[np.float32]
    maps: Mapping[Precision, NDArray[np.float32]]

    def difference_scale(self) -> float:
        """Largest absolute difference of a cell from PyTorch's map over all frames and graphs, to three
        digits.
        """
        differences = [np.abs(maps - self.references).max() for maps in self.maps.values()]
        return float(f"{max(differences, default=0.0):.3g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that a report shows.

    Attributes:
        contract: the fp32 graph's.
        manifest: the content of the bundle's manifest.json.
        shown: the worst frames and their maps.
        errors: error of each node's output, by the graph's precision.
        int8: result of the mixed-precision search; None where no int8 graph was asked for.
        ranges: activation ranges of the calibration; None as above.
        audit: audit of the calibration frames; None where they are not available, as with the shipped ranges.
        temporal: temporal parity on a clip; None where it was not measured.
        speed: latency of int8 and fp16 on this machine; None without int8.
    """

    contract: Contract
    manifest: Mapping[str, Any]
    shown: ShownMaps
    errors: Mapping[Precision, Sequence[LayerError]] = field(default_factory=dict)
    int8: Int8Result | None = None
    ranges: ActivationRanges | None = None
    audit: FramesAudit | None = None
    temporal: TemporalParity | None = None
    speed: Speed | None = None

    def to_json(self) -> dict[str, Any]:
        """Content of `report.json`; equal findings give equal values."""
        contract = self.contract
        report = {
            "schema": SCHEMA,
            "network": contract.network,
            "size_hw": list(contract.size_hw),
            "map_size_hw": list(contract.map_size_hw),
            "fit": contract.fit,
            "precisions": list(self.manifest["models"]),
            "verdict": verdict(self.manifest, self.int8, self.temporal),
            "gate": self._gate(),
            "parity": self.manifest["parity"],
            "frames": self._frames(),
            "difference_scale": self.shown.difference_scale(),
            "layers": layer_rows(self.manifest, self.errors, self.int8, self.ranges),
            "nodes": {
                precision: [error.to_json() for error in errors] for precision, errors in self.errors.items()
            },
            "pareto": self._pareto(),
            "temporal": self.temporal.to_json() if self.temporal else None,
            "speed": {**self.speed.to_json(), "sentence": f"{self.speed.sentence()}."}
            if self.speed
            else None,
            "calibration": self._calibration(),
            "lineage": self._lineage(),
        }
        values: dict[str, Any] = finite(
            report
        )  # an unlimited tolerance is infinite: null in the file and on the page
        return values

    def _gate(self) -> dict[str, Any] | None:
        if self.int8 is None:
            return None
        names = ("passed", "limits", "figures", "int8_macs_share", "taken", "repairs", "passes")
        found = self.int8.to_json()
        return {**{name: found[name] for name in names}, "frames": len(self.int8.parity.frames)}

    def _pareto(self) -> list[dict[str, Any]]:
        """Candidates of the search, with the latency in ms of those that were timed."""
        if self.int8 is None:
            return []
        times_ms = self.speed.sets_ms(self.int8.taken) if self.speed else {}
        points = enumerate(self.int8.pareto)
        return [{**plain(point), "frame_ms": times_ms.get(place)} for place, point in points]

    def _frames(self) -> list[dict[str, Any]]:
        shown = self.shown
        return [
            {
                "name": name,
                "agreement": {
                    precision: _agreement_json(maps[place], shown.references[place])
                    for precision, maps in shown.maps.items()
                },
            }
            for place, name in enumerate(shown.frames.names)
        ]

    def _calibration(self) -> dict[str, Any] | None:
        if self.int8 is None:
            return None
        return {"ranges": dict(self.int8.ranges), "audit": audit_json(self.audit, self.ranges)}

    def _lineage(self) -> dict[str, Any]:
        names = ("models", "golden", "lineage", "reference", "tools")
        return {name: self.manifest[name] for name in names if name in self.manifest}


def _agreement_json(found: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[str, float]:
    """Figures of a frame's caption."""
    figures = agreement(found, reference)
    return {
        "cc": float(f"{figures.cc:.8g}"),
        "kldiv": float(f"{figures.kldiv:.3g}"),
        "max_abs": float(f"{figures.max_abs:.3g}"),
        "peak_shift_cells": float(f"{figures.peak_shift_cells:.3g}"),
    }


_CONVOLUTIONS = ("Conv", "ConvTranspose")


def layer_rows(
    manifest: Mapping[str, Any],
    errors: Mapping[Precision, Sequence[LayerError]],
    int8: Int8Result | None,
    ranges: ActivationRanges | None,
) -> list[dict[str, Any]]:
    """Rows of the table of layers, one for each convolution.

    Args:
        manifest: content of the bundle's manifest.json.
        errors: error of each node's output, by the graph's precision.
        int8: result of the search; None where no int8 graph was asked for.
        ranges: activation ranges of the calibration; None as above.

    Returns:
        Rows in the graph's order. `in_graph_db` holds the SQNR of a layer's output in dB by precision,
        with the errors of all layers before it; the rest are the fields of `LayerDecision` and of
        `TensorRange`.
    """
    in_graph = _sqnr_in_graph(errors)
    if int8 is None:
        return _rows_sentence_without_int8(manifest, errors, in_graph)
    total = sum(layer.macs for layer in int8.layers)
    return [_int8_row(layer, total, in_graph.get(layer.node, {}), ranges) for layer in int8.layers]


def _sqnr_in_graph(errors: Mapping[Precision, Sequence[LayerError]]) -> dict[str, dict[str, float]]:
    """SQNR in dB by node, then by precision."""
    found: dict[str, dict[str, float]] = {}
    for precision, nodes in errors.items():
        for error in nodes:
            found.setdefault(error.node, {})[precision] = round(error.sqnr_db, 2)
    return found


def _int8_row(
    layer: LayerDecision, total_macs: int, in_graph: Mapping[str, float], ranges: ActivationRanges | None
) -> dict[str, Any]:
    tensor = ranges.tensors.get(layer.tensor) if ranges else None
    return {
        **plain(layer),
        "macs_share": round(layer.macs / total_macs, 5) if total_macs else 0.0,
        "in_graph_db": dict(in_graph),
        "minimum": _digits(tensor.minimum) if tensor else None,
        "maximum": _digits(tensor.maximum) if tensor else None,
        "thresholds": {name: _digits(value) for name, value in tensor.thresholds.items()} if tensor else {},
    }


def _rows_sentence_without_int8(
    manifest: Mapping[str, Any],
    errors: Mapping[Precision, Sequence[LayerError]],
    in_graph: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    kept = manifest["range_scan"]["kept_fp32"]
    nodes = next(iter(errors.values()), [])
    return [
        {
            "node": error.node,
            "precision": "fp32" if error.node in kept else "fp16",
            "reason": kept.get(error.node, "far from fp16's limits"),
            "in_graph_db": dict(in_graph[error.node]),
            "minimum": error.to_json()["minimum"],
            "maximum": error.to_json()["maximum"],
        }
        for error in nodes
        if error.operator in _CONVOLUTIONS
    ]


def _digits(value: float) -> float:
    """Six digits, as in the file of ranges."""
    return float(f"{value:.6g}")


def verdict(
    manifest: Mapping[str, Any], int8: Int8Result | None, temporal: TemporalParity | None
) -> dict[str, Any]:
    """Whether the export passed, and the figures that decide it.

    Args:
        manifest: content of the bundle's manifest.json.
        int8: result of the search; None where no int8 graph was asked for.
        temporal: temporal parity on a clip; None where it was not measured.

    Returns:
        `passed`, a `word` for it, the `sentence`, and a `remark` on flicker or None.
    """
    passed = int8 is None or int8.passed
    sentence = _sentence_without_int8(manifest) if int8 is None else _int8_sentence(int8, manifest)
    flickers = passed and temporal is not None and "int8" in temporal.movements and temporal.shimmers("int8")
    word = ("Passed, but it flickers" if flickers else "Passed") if passed else "Not passed"
    return {"passed": passed, "word": word, "sentence": sentence, "remark": _flicker_remark(temporal)}


def _int8_sentence(int8: Int8Result, manifest: Mapping[str, Any]) -> str:
    if not int8.passed:
        reasons, held = "; ".join(int8.failures()), " and ".join(manifest["models"])
        return f"int8 does not pass the gate: {reasons}. The bundle holds {held} instead."
    found = int8.to_json()  # rounded once, as on the page's cards
    figures = found["figures"]
    return (
        f"int8 passes the gate: {found['int8_macs_share']:.2%} of the MACs are in int8, and the maps "
        f"correlate with the fp32 maps of {_reference(manifest)} at {figures['cc_mean']:.5f} on average and "
        f"{figures['cc_worst']:.5f} at worst, on {len(int8.parity.frames)} frames held out from "
        "calibration."
    )


def _sentence_without_int8(manifest: Mapping[str, Any]) -> str:
    label, row = list(manifest["parity"].items())[-1]
    return (
        f"{label.partition('_')[0]} agrees with the fp32 maps of {_reference(manifest)} on all "
        f"{len(row['frames'])} frames: "
        f"correlation {row['worst']['cc']:.7f} at worst, {row['tolerance']['min_cc']:g} allowed."
    )


def _reference(manifest: Mapping[str, Any]) -> str:
    """What the graphs were compared with."""
    return str(manifest.get("reference", "PyTorch"))


def _flicker_remark(temporal: TemporalParity | None) -> str | None:
    if temporal is None or "int8" not in temporal.movements:
        return None
    return f"{temporal.sentence('int8')}."
