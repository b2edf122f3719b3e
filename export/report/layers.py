"""The report's table of layers: one row for each convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calib.ranges import ActivationRanges
from ...runtime.contract import Precision
from ..int8.results import Int8Result, LayerDecision, plain
from ..layer_error import LayerError

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def layer_rows(
    manifest: Mapping[str, Any],
    errors: Mapping[Precision, Sequence[LayerError]],
    int8: Int8Result | None,
    ranges: ActivationRanges | None,
) -> list[dict[str, Any]]:
    """Gather what is known of each convolution.

    Args:
        manifest: the bundle's.
        errors: of each graph's nodes.
        int8: the search's result; None where no int8 was asked for.
        ranges: that it was calibrated with; None as above.

    Returns:
        Rows in the graph's order. `in_graph_db` holds the SQNR of a layer's output by precision, what came
        before it included; the rest are the fields of `LayerDecision` and of `TensorRange`.
    """
    in_graph = _in_graph(errors)
    if int8 is None:
        return _float_rows(manifest, errors, in_graph)
    total = sum(layer.macs for layer in int8.layers)
    return [_int8_row(layer, total, in_graph.get(layer.node, {}), ranges) for layer in int8.layers]


def _in_graph(errors: Mapping[Precision, Sequence[LayerError]]) -> dict[str, dict[str, float]]:
    """Give the SQNR by node, then by precision."""
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


def _float_rows(
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
    """Keep the digits that the ranges' file keeps."""
    return float(f"{value:.6g}")
