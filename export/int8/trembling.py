"""How much each layer alone makes the maps of a clip tremble: what a search for steady maps goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from ...runtime.contract import OUTPUT_NAME, Contract
from ...runtime.progress import progress
from .layers import ConvLayer
from .quantize import Int8Conv
from .search_cache import SearchCache
from .segments import Captured, Kernel, Segments
from .start import Start

TREMBLING_FRAMES = 8
"""Consecutive frames that each layer is tried on; a map has cells enough to average over."""
_MOST_WEIGHED = 15
"""Layers whose sets are all weighed, those that tremble most: 2^15 sets take a tenth of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trembling:
    """How much each layer alone trembles.

    Attributes:
        macs: multiplications of a frame, by the node's name.
        alone: mean square over steps and cells of (map - map before), int8 less fp32, by the node's name;
            layers that stay float in any case are left out.
    """

    macs: Mapping[str, int]
    alone: Mapping[str, float]

    def of_others(self, kept: Set[str]) -> float:
        """Add up what the layers that are not kept in float tremble."""
        return sum(value for name, value in self.alone.items() if name not in kept)

    def cheapest(self, kept: frozenset[str], most: float) -> frozenset[str]:
        """Choose the layers that stay float so that the others tremble no more than they may.

        Args:
            kept: names of those that stay float in any case.
            most: that the others may tremble together.

        Returns:
            The set that costs the fewest multiplications, `kept` among it; of equals the calmest.
        """
        choice = sorted(self.alone.keys() - kept, key=lambda name: -self.alone[name])[:_MOST_WEIGHED]
        sets = chain.from_iterable(combinations(choice, size) for size in range(len(choice) + 1))
        weighed = ((self.of_others(kept.union(further)), further) for further in sets)
        calm = [
            (sum(self.macs[name] for name in further), rest, further)
            for rest, further in weighed
            if rest <= most
        ]
        return kept.union(min(calm)[2] if calm else choice)


def trembling_alone(
    start: Start, contract: Contract, frames: NDArray[np.uint8], cache: SearchCache
) -> Trembling:
    """Quantise each convolution alone, as the recipe has it, and look how the steps between maps change.

    Args:
        start: how layers are quantised; those that break the gate alone are not tried.
        contract: of the fp32 graph.
        frames: (K, H, W, 3) BGR, consecutive, at the network's size; the first `TREMBLING_FRAMES` are taken.
        cache: of this search.
    """
    layers, convs = start.recipe.layers, start.recipe.convs(start.broken)

    def measure() -> dict[str, float]:
        segments = Segments(start.source.fp32, contract, layers)
        captured = segments.capture(frames[:TREMBLING_FRAMES])
        found: dict[str, float] = {}
        with progress("int8: layers tried alone on the clip", len(convs)) as advance:
            for layer in (layer for layer in layers if layer.node in convs):
                found[layer.node] = _trembling(segments, layer, convs[layer.node], captured)
                advance()
        return found

    alone = cache.once("trembling", measure)
    return Trembling(macs={layer.node: layer.macs for layer in layers}, alone=alone)


def _trembling(segments: Segments, layer: ConvLayer, conv: Int8Conv, captured: Sequence[Captured]) -> float:
    data = (frame[layer.tensor] for frame in captured)
    kernel = Kernel(weights=conv.weights, bias=conv.bias)
    outputs = segments.convolve_int8(layer, data, kernel, conv.threshold)
    maps = np.stack(segments.finish(layer, outputs, captured)).astype(np.float64)  # (K, h, w)
    errors = maps - np.stack([frame[OUTPUT_NAME][0] for frame in captured])
    return float(np.mean(np.diff(errors, axis=0) ** 2))
