"""The gate: an int8 graph's maps on frames that took no part in calibration, held against PyTorch's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...runtime.contract import Contract, Precision
from ..frames import FrameSet
from ..ort_session import ort_maps
from ..parity import Agreement, compare
from .results import GateFigures, GateLimits, gate_figures
from .search_cache import SearchCache

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What graphs are judged by.

    Attributes:
        limits: what they must keep.
        frames: K of them.
        references: (K, h, w) PyTorch's maps.
        contract: of the graphs.
    """

    limits: GateLimits
    frames: FrameSet
    references: NDArray[np.float32]
    contract: Contract

    def agreements(
        self, name: str, model: onnx.ModelProto, precision: Precision, cache: SearchCache
    ) -> dict[str, Agreement]:
        """Run a graph on the gate's frames, unless that was done before.

        Args:
            name: of the measurement in the cache.
            model: the graph, its rounding written out: ONNX Runtime drops the casts of a typed one.
            precision: of the typed graph.
            cache: of this search.

        Raises:
            ParityError: a map holds NaN.
        """

        def measure() -> dict[str, dict[str, float]]:
            contract = replace(self.contract, precision=precision)
            maps = ort_maps(model, contract, self.frames.pixels)
            parity = compare(precision, self.frames.names, maps, self.references, rounded=True)
            return {frame: asdict(values) for frame, values in parity.frames.items()}

        return {frame: Agreement(**values) for frame, values in cache.once(name, measure).items()}

    def judge(self, agreements: dict[str, Agreement]) -> tuple[GateFigures, bool]:
        """Give the figures, and whether they pass."""
        figures = gate_figures(agreements)
        return figures, not figures.failures(self.limits)
