"""Where the search starts: each layer measured alone, then the repairs that cost no speed, where they pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...calib.ranges import ActivationRanges
from ..frames import FrameSet
from ..ort_session import ort_maps
from ..parity import agreement
from .decisions import hurting
from .equalise import Link, Octaves, equalised, find_links
from .gate import Gate
from .layers import ConvLayer
from .measure import measure_again, measure_layers
from .octaves import OctaveChoice
from .quantize import quantize
from .recipe import Recipe, recipe_of
from .results import gate_figures
from .search_cache import SearchCache
from .segments import Segments

if TYPE_CHECKING:
    import onnx

BIAS_CORRECTION = "bias correction"
EQUALISATION = "equalisation of channels"
MOST_AFTER_EQUALISING = 0.5
"""Part of the probes' KLDiv: channels are fitted to few frames, and a small gain there is lost on others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Source:
    """What int8 graphs are made from.

    Attributes:
        fp32: the fp32 graph.
        body: the graph that gets Q/DQ nodes: typed fp16, or fp32.
        rounded: the same with the body's rounding written out, to be measured in ONNX Runtime.
        ranges: of the fp32 graph's activations; they were checked against it.
    """

    fp32: onnx.ModelProto
    body: onnx.ModelProto
    rounded: onnx.ModelProto
    ranges: ActivationRanges

    def equalised(self, links: Sequence[Link], octaves: Octaves) -> Int8Source:
        """Give the same with channels enlarged; the ranges stay as they are."""
        return replace(
            self,
            fp32=equalised(self.fp32, links, octaves),
            body=equalised(self.body, links, octaves),
            rounded=equalised(self.rounded, links, octaves),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a search starts.

    Attributes:
        source: the graphs, repaired.
        recipe: how their layers are quantised.
        broken: names of those that would break the gate alone, before any repair.
        repairs: what was done, in order.
    """

    source: Int8Source
    recipe: Recipe
    broken: frozenset[str]
    repairs: tuple[str, ...] = ()


class Starter:
    """Makes the start of a search, from frames that decisions are taken on; they are none of the gate's."""

    def __init__(
        self,
        source: Int8Source,
        gate: Gate,
        layers: Sequence[ConvLayer],
        probes: FrameSet,
        cache: SearchCache,
    ) -> None:
        """Measure nothing yet.

        Args:
            source: the graphs.
            gate: what the maps must keep.
            layers: convolutions that may be int8.
            probes: the frames.
            cache: of this search.
        """
        self._source, self._gate, self._layers = source, gate, layers
        self._probes, self._cache = probes, cache

    def start(self) -> Start:
        """Correct biases where the probes' maps gain, and enlarge channels where they gain much.

        Raises:
            ParityError: a map holds NaN.
        """
        plain = self.plain()
        equalised = self._better(self._equalised(plain))
        plain = self._better(plain)
        halves = self._kldiv(equalised) < MOST_AFTER_EQUALISING * self._kldiv(plain)
        return equalised if halves else plain

    def _better(self, start: Start) -> Start:
        """Correct biases where that pays."""
        return min((start, self._with_biases(start)), key=self._kldiv)

    def plain(self) -> Start:
        """Measure each layer alone, with the weights as they are."""
        segments = self._segments(self._source)
        ranges = self._source.ranges.tensors
        measures = measure_layers(segments, self._layers, ranges, self._probes.pixels, self._cache)
        recipe = recipe_of(self._source.fp32, segments, self._layers, measures)
        return Start(source=self._source, recipe=recipe, broken=hurting(recipe, self._gate.limits))

    def _equalised(self, plain: Start) -> Start:
        """Measure each layer alone with channels equalised.

        What breaks the gate alone is named, not hidden in the next layer's weights: what it reads stays.
        """
        links = find_links(self._source.fp32)
        source = self._source.equalised(links, self._octaves(plain, links))
        segments, known = self._segments(source), plain.recipe.measures
        settled = {name: conv.threshold for name, conv in plain.recipe.convs(plain.broken).items()}
        thresholds = {name: measure.threshold for name, measure in known.items()} | settled
        frames = self._probes.pixels
        measures = measure_again(segments, self._layers, known, thresholds, frames, self._cache)
        recipe = recipe_of(source.fp32, segments, self._layers, measures)
        return replace(plain, source=source, recipe=recipe, repairs=(*plain.repairs, EQUALISATION))

    def _with_biases(self, start: Start) -> Start:
        recipe = replace(start.recipe, corrects_bias=True)
        return replace(start, recipe=recipe, repairs=(*start.repairs, BIAS_CORRECTION))

    def _segments(self, source: Int8Source) -> Segments:
        return Segments(source.fp32, self._gate.contract, self._layers)

    def _octaves(self, plain: Start, links: Sequence[Link]) -> Octaves:
        def measure() -> dict[str, list[int]]:
            segments = self._segments(self._source)
            frames = segments.capture(self._probes.pixels)
            choice = OctaveChoice(self._layers, plain.recipe.convs(plain.broken), segments, frames)
            return {maker: list(found) for maker, found in choice.octaves(links).items()}

        return self._cache.once("octaves", measure)

    @cached_property
    def _exact(self) -> NDArray[np.float32]:
        """The fp32 graph's maps of the probes."""
        return ort_maps(self._source.fp32, self._gate.contract, self._probes.pixels)

    def _kldiv(self, start: Start) -> float:
        """Measure the mean divergence of the probes' maps, all in int8 but what breaks the gate alone."""

        def measure() -> dict[str, float]:
            model = quantize(start.source.rounded, start.recipe.convs(start.broken))
            maps = ort_maps(model, self._gate.contract, self._probes.pixels)
            found = {
                name: agreement(*pair)
                for name, *pair in zip(self._probes.names, maps, self._exact, strict=True)
            }
            return {"kldiv_mean": gate_figures(found).kldiv_mean}

        return float(self._cache.once(f"probes with {start.repairs or 'nothing'}", measure)["kldiv_mean"])
