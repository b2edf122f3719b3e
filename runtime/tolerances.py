"""How far maps may differ from PyTorch's: the one table of the product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What the worst frame may show.

    Attributes:
        max_abs: largest absolute difference of a cell, on maps in 0 to 1.
        min_cc: smallest correlation.
    """

    max_abs: float
    min_cc: float

    def allows(self, *, max_abs: float, cc: float) -> bool:
        """Tell whether a frame's figures lie within it."""
        return max_abs <= self.max_abs and cc >= self.min_cc


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_abs=1e-4, min_cc=0.99999),
    "fp16": Tolerance(max_abs=4e-3, min_cc=0.9999),
    # With its rounding written out. Where a map's peak is small, x / max x magnifies the rounding of all
    # layers, so it is the correlation that counts; the difference catches what overflows.
    "fp16_rounded": Tolerance(max_abs=2e-2, min_cc=0.9999),
    # What counts is the gate of the export, on more frames than these; here a file that is broken is caught.
    "int8": Tolerance(max_abs=0.5, min_cc=0.99),
}
"""By the label of a row in the parity table."""
