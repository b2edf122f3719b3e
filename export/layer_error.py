"""How far another graph's tensors are from the fp32 graph's, node by node, in one pass over frames.

Both graphs become one: the other's nodes get a prefix, both read the same frame, and nodes put behind each
pair of tensors sum up the signal and the error. So memory stays that of one inference, whatever the number of
frames. A node's error holds all that came before it, as on a device. Observed tensors keep ONNX Runtime from
fusing a Q/DQ convolution into an integer one; its sums differ from these by float32's rounding alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.contract import INPUT_NAME, Contract
from ..runtime.errors import ArtifactError
from ..runtime.progress import progress
from .frames import in_batches
from .int8.equalise import equalised, find_links, octaves_of
from .ort_session import cpu_session

if TYPE_CHECKING:
    import onnx

SQNR_CEILING_DB = 200.0
_OTHER = "other/"
_FIGURES = ("minimum", "maximum", "signal", "noise", "worst")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """How far a node's output is from the fp32 graph's.

    Attributes:
        node: its name in both graphs.
        operator: its ONNX operator.
        minimum: of the fp32 graph's tensor, over all frames.
        maximum: of it.
        sqnr_db: signal to quantisation noise, the sum of squares of the tensor over that of the error, in dB;
            200 for equal tensors, -200 where the other graph's holds NaN or infinity.
        max_abs_error: largest absolute error of a value.
    """

    node: str
    operator: str
    minimum: float
    maximum: float
    sqnr_db: float
    max_abs_error: float

    def to_json(self) -> dict[str, str | float | None]:
        """Give the figures as plain JSON values, with the digits that two runs share."""
        return {
            "node": self.node,
            "operator": self.operator,
            "minimum": _digits(self.minimum),
            "maximum": _digits(self.maximum),
            "sqnr_db": round(self.sqnr_db, 2),
            "max_abs_error": _digits(self.max_abs_error) if np.isfinite(self.max_abs_error) else None,
        }


def layer_errors(
    fp32: onnx.ModelProto, other: onnx.ModelProto, contract: Contract, pixels: NDArray[np.uint8]
) -> list[LayerError]:
    """Compare the output of every node that both graphs have.

    Args:
        fp32: the fp32 graph; it stays as it is.
        other: a graph made from it, fp16 or with Q/DQ nodes; nodes are matched by their names, and where
            its channels are enlarged, so are the fp32 graph's.
        contract: the fp32 graph's.
        pixels: (K, H, W, 3) BGR, at the network's size.

    Returns:
        The errors in the fp32 graph's order.

    Raises:
        ArtifactError: the graphs have no node in common.
        BackendError: ONNX Runtime refuses a graph.
    """
    fp32 = equalised(fp32, find_links(fp32), octaves_of(other))
    pairs = _matched(fp32, other)
    if not pairs:
        raise ArtifactError("the graphs have no node in common. Compare graphs of one checkpoint")
    session = cpu_session(_side_by_side(fp32, other, pairs))
    found: list[NDArray[np.float64]] = []
    batches = in_batches(pixels, (contract.batch[0], contract.batch[0]))
    with progress("errors layer by layer", len(batches)) as advance:
        for frames in batches:
            values = session.run(None, {INPUT_NAME: frames})
            found.append(np.reshape(values, (len(pairs), len(_FIGURES))).astype(np.float64))
            advance()
    merged = _merged(np.stack(found)).tolist()
    return [_error(node, figures) for (node, _), figures in zip(pairs, merged, strict=True)]


def first_node_out_of(errors: Sequence[LayerError], min_sqnr_db: float) -> LayerError | None:
    """Give the first node, in the graph's order, whose output leaves the tolerance; None where none does.

    Args:
        errors: as `layer_errors` gave them.
        min_sqnr_db: what a node's output must keep.
    """
    return next((error for error in errors if error.sqnr_db < min_sqnr_db), None)


def _matched(fp32: onnx.ModelProto, other: onnx.ModelProto) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Pair the nodes of one name and operator whose outputs are floats."""
    twins = {node.name: node for node in other.graph.node}
    floats = _element_types(fp32)
    return [
        (node, twins[node.name])
        for node in fp32.graph.node
        if node.name in twins and twins[node.name].op_type == node.op_type and node.output[0] in floats
    ]


def _element_types(model: onnx.ModelProto) -> Mapping[str, int]:
    """Give the kind of each float tensor that has one."""
    from onnx import TensorProto

    values = (*model.graph.value_info, *model.graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return {name: kind for name, kind in kinds.items() if kind in (TensorProto.FLOAT, TensorProto.FLOAT16)}


def _side_by_side(
    fp32: onnx.ModelProto,
    other: onnx.ModelProto,
    pairs: Sequence[tuple[onnx.NodeProto, onnx.NodeProto]],
) -> onnx.ModelProto:
    """Put both graphs into one model whose outputs are the figures of each pair."""
    import onnx

    model, second = onnx.ModelProto(), onnx.ModelProto()
    model.CopyFrom(fp32)
    second.CopyFrom(other)
    onnx.compose.add_prefix(second, _OTHER, inplace=True, rename_inputs=False)
    del model.graph.output[:]
    model.graph.node.extend(second.graph.node)
    model.graph.initializer.extend(second.graph.initializer)
    model.ir_version = max(fp32.ir_version, other.ir_version)
    _take_opsets(model, other)
    for node, twin in pairs:
        _observe(model, node.output[0], f"{_OTHER}{twin.output[0]}")
    return model


def _take_opsets(model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    """Take over the operator sets that only the other graph has."""
    known = {opset.domain for opset in model.opset_import}
    model.opset_import.extend(opset for opset in other.opset_import if opset.domain not in known)


def _observe(model: onnx.ModelProto, tensor: str, twin: str) -> None:
    """Add the nodes that compute the figures of one pair, in fp32."""
    from onnx import TensorProto, helper

    names = {figure: f"{tensor}/{figure}" for figure in _FIGURES}
    wide, error, size = f"{tensor}/wide", f"{tensor}/error", f"{tensor}/size"
    model.graph.node.extend(
        [
            helper.make_node("Cast", [twin], [wide], to=TensorProto.FLOAT),
            helper.make_node("Sub", [wide, tensor], [error]),
            helper.make_node("Abs", [error], [size]),
            helper.make_node("ReduceMin", [tensor], [names["minimum"]], keepdims=0),
            helper.make_node("ReduceMax", [tensor], [names["maximum"]], keepdims=0),
            helper.make_node("ReduceSumSquare", [tensor], [names["signal"]], keepdims=0),
            helper.make_node("ReduceSumSquare", [error], [names["noise"]], keepdims=0),
            helper.make_node("ReduceMax", [size], [names["worst"]], keepdims=0),
        ]
    )
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in names.values()
    )


def _merged(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge the figures of batches, (batches, nodes, 5) in the order of `_FIGURES`, to (nodes, 5)."""
    minimum, maximum, signal, noise, worst = np.moveaxis(found, 2, 0)
    return np.column_stack(
        [minimum.min(axis=0), maximum.max(axis=0), signal.sum(axis=0), noise.sum(axis=0), worst.max(axis=0)]
    )


def _error(node: onnx.NodeProto, figures: Sequence[float]) -> LayerError:
    minimum, maximum, signal, noise, worst = figures
    return LayerError(
        node=node.name,
        operator=node.op_type,
        minimum=minimum,
        maximum=maximum,
        sqnr_db=_sqnr_db(signal, noise),
        max_abs_error=worst,
    )


def _sqnr_db(signal: float, noise: float) -> float:
    if not np.isfinite(noise):
        return -SQNR_CEILING_DB
    if noise == 0:
        return SQNR_CEILING_DB
    decibels = 10 * float(np.log10(max(signal, np.finfo(float).tiny) / noise))
    return min(SQNR_CEILING_DB, max(-SQNR_CEILING_DB, decibels))


def _digits(value: float) -> float:
    return float(f"{value:.5g}")
