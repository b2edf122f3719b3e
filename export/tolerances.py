"""How far maps may differ from PyTorch's, by precision: the one table of the product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..runtime.contract import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What the worst frame may show.

    Attributes:
        max_abs: largest absolute difference of a cell, on maps in 0 to 1.
        min_cc: smallest correlation.
    """

    max_abs: float
    min_cc: float


TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(max_abs=1e-4, min_cc=0.99999),
    "fp16": Tolerance(max_abs=4e-3, min_cc=0.9999),
}
