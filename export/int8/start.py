"""Where the search starts: each layer measured alone, with weights as they are or with channels equalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...calib.ranges import ActivationRanges
from ..frames import FrameSet
from ..ort_session import ort_maps
from ..parity import agreement
from .decisions import hurting
from .equalise import Octaves, choose_octaves, equalised, find_links
from .gate import Gate
from .layers import ConvLayer
from .measure import measure_layers
from .quantize import quantize
from .recipe import Recipe, recipe_of
from .results import gate_figures
from .search_cache import SearchCache
from .segments import Segments

if TYPE_CHECKING:
    import onnx

BIAS_CORRECTION = "bias correction"
EQUALISATION = "equalisation of channels"


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

    def equalised(self, octaves: Octaves) -> Int8Source:
        """Give the same with channels enlarged; no channel passes the ranges, so these stay as they are."""
        return Int8Source(
            fp32=equalised(self.fp32, octaves),
            body=equalised(self.body, octaves),
            rounded=equalised(self.rounded, octaves),
            ranges=self.ranges,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a search starts.

    Attributes:
        source: the graphs, repaired.
        recipe: how their layers are quantised.
        broken: names of those that would break the gate alone, before any repair.
        repairs: what was done, in order.
        label: what tells its measurements and sets from another start's.
    """

    source: Int8Source
    recipe: Recipe
    broken: frozenset[str]
    repairs: tuple[str, ...]
    label: str = ""


def plain_start(
    source: Int8Source, gate: Gate, layers: Sequence[ConvLayer], probes: FrameSet, cache: SearchCache
) -> Start:
    """Measure each layer alone, with the weights as they are; correct biases where that pays.

    Args:
        source: the graphs.
        gate: what the maps must keep.
        layers: convolutions that may be int8.
        probes: frames that decisions are taken on; they are none of the gate's.
        cache: of this search.
    """
    recipe = _recipe(source, gate, layers, probes, cache, "")
    start = Start(source=source, recipe=recipe, broken=hurting(recipe, gate.limits), repairs=())
    return _with_biases(start, gate, probes, cache)


def equalised_start(plain: Start, gate: Gate, probes: FrameSet, cache: SearchCache) -> Start:
    """Measure each layer alone with channels equalised, as `plain_start` does.

    What breaks the gate alone is named, not hidden in the next layer's weights: what it reads stays.
    """
    label = "equalised: "
    mended = plain.source.equalised(_octaves(plain))
    recipe = _recipe(mended, gate, plain.recipe.layers, probes, cache, label)
    start = Start(source=mended, recipe=recipe, broken=plain.broken, repairs=(EQUALISATION,), label=label)
    return _with_biases(start, gate, probes, cache)


def _recipe(
    source: Int8Source,
    gate: Gate,
    layers: Sequence[ConvLayer],
    probes: FrameSet,
    cache: SearchCache,
    label: str,
) -> Recipe:
    segments = Segments(source.fp32, gate.contract, layers)
    measures = measure_layers(segments, layers, source.ranges.tensors, probes.pixels, cache, label)
    return recipe_of(source.fp32, segments, layers, measures)


def _octaves(plain: Start) -> Octaves:
    measures = {name: found for name, found in plain.recipe.measures.items() if name not in plain.broken}
    return choose_octaves(find_links(plain.source.fp32), plain.source.ranges.tensors, measures)


def _with_biases(start: Start, gate: Gate, probes: FrameSet, cache: SearchCache) -> Start:
    """Correct biases, if the maps of the probes come nearer to the fp32 graph's by it."""

    def measure() -> dict[str, bool]:
        exact = ort_maps(start.source.fp32, gate.contract, probes.pixels)
        found = []
        for recipe in (start.recipe, corrected):
            model = quantize(start.source.rounded, recipe.convs(start.broken))
            maps = ort_maps(model, gate.contract, probes.pixels)
            agreements = {
                name: agreement(*pair) for name, *pair in zip(probes.names, maps, exact, strict=True)
            }
            found.append(gate_figures(agreements).kldiv_mean)
        return {"pays": found[1] < found[0]}

    corrected = replace(start.recipe, corrects_bias=True)
    if not cache.once(f"{start.label}{BIAS_CORRECTION}", measure)["pays"]:
        return start
    return replace(start, recipe=corrected, repairs=(*start.repairs, BIAS_CORRECTION))
