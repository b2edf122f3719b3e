"""A layer of a TensorRT engine, as receipts list it."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNKNOWN = "unknown"
"""Datatype of a tensor that TensorRT does not tell: `N/A due to dynamic shapes`."""

# Kernels that multiply and add, `runtime_fusion` with a cast behind; generated ones (`kgen`) move and scale.
_COMPUTES = re.compile(r"correlation|conv|gemm|gett|matrixmultiply|fusion", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: TensorRT's own.
        type: TensorRT's own, such as `correlation`, `kgen` or `CaskConvolution`.
        onnx_nodes: names of the ONNX nodes that it does, or does a part of.
        inputs: datatypes of its inputs: `Float`, `Half`, `Int8`, ...
        weights: datatype of the weights; None where it has none.
        outputs: datatypes of its outputs.
    """

    name: str
    type: str
    onnx_nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    weights: str | None
    outputs: tuple[str, ...]

    @property
    def computes(self) -> bool:
        """Whether it is a convolution or a matrix product."""
        return _COMPUTES.search(self.type) is not None

    @property
    def dtype(self) -> str:
        """Datatype that it computes in; both, as `Half x Int8`, where input and weights differ."""
        first = next(iter(self.inputs or self.outputs), UNKNOWN)
        if self.weights is None or self.weights == first:
            return first
        return self.weights if first == UNKNOWN else f"{first} x {self.weights}"
