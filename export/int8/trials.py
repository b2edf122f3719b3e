"""Sets of precisions tried on the gate's frames, each once, within a budget."""

from __future__ import annotations

from collections.abc import Collection, Set
from typing import TYPE_CHECKING

from ..parity import Agreement
from .gate import Gate
from .quantize import quantize
from .results import ParetoPoint
from .search_cache import SearchCache
from .start import Start

if TYPE_CHECKING:
    import onnx


class Trials:
    """What the gate says of sets of layers."""

    def __init__(self, start: Start, macs: int, gate: Gate, cache: SearchCache, most: int) -> None:
        """Start without any.

        Args:
            start: graphs, and how their layers are quantised.
            macs: multiplications of the whole network.
            gate: what the maps must keep.
            cache: of this search.
            most: sets that may be tried.
        """
        self.start = start
        self._gate, self._cache = gate, cache
        self._macs, self._most = macs, most
        self.points: list[ParetoPoint] = []

    @property
    def left(self) -> int:
        """How many more sets may be tried."""
        return self._most - len(self.points)

    def attempt(self, kept: Collection[str], step: str) -> ParetoPoint:
        """Try a set; one without any layer in int8 does not pass.

        Args:
            kept: names of the layers that stay float.
            step: what this set is, for the record.

        Raises:
            ParityError: a map holds NaN.
        """
        figures, passed = self._gate.judge(self.agreements(frozenset(kept)))
        in_int8 = [layer for layer in self.start.recipe.layers if layer.node not in kept]
        point = ParetoPoint(
            step=step,
            int8_macs_share=sum(layer.macs for layer in in_int8) / self._macs,
            kept_nodes=tuple(layer.node for layer in self.start.recipe.layers if layer.node in kept),
            figures=figures,
            passed=passed and bool(in_int8),
        )
        self.points.append(point)
        return point

    def agreements(self, kept: Set[str]) -> dict[str, Agreement]:
        """Give a set's agreement with PyTorch, frame by frame."""
        name = "set without " + (", ".join(sorted(kept)) or "none")
        return self._gate.agreements(name, self.graph(kept), "int8", self._cache)

    def graph(self, kept: Set[str]) -> onnx.ModelProto:
        """Give a set's graph as it is measured, the body's rounding written out."""
        return quantize(self.start.source.rounded, self.start.recipe.convs(kept))

    def model(self, kept: Set[str]) -> onnx.ModelProto:
        """Give a set's graph as it is shipped."""
        return quantize(self.start.source.body, self.start.recipe.convs(kept))
