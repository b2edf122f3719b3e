"""Where the search starts: each layer measured alone, and the repairs that pay before any layer is kept."""

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
WORTH_MENDING = 0.1
"""As a part of the gate's KLDiv: layers that do less harm than this, all together, are not equalised."""


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
    """Where the search starts.

    Attributes:
        source: the graphs, repaired.
        recipe: how their layers are quantised.
        broken: names of those that would break the gate alone, before any repair.
        repairs: what was done, in order.
    """

    source: Int8Source
    recipe: Recipe
    broken: frozenset[str]
    repairs: tuple[str, ...]


def start_of(
    source: Int8Source, gate: Gate, layers: Sequence[ConvLayer], probes: FrameSet, cache: SearchCache
) -> Start:
    """Measure each layer alone, equalise channels and correct biases where that pays.

    Args:
        source: the graphs.
        gate: what the maps must keep.
        layers: convolutions that may be int8.
        probes: frames that decisions are taken on; they are none of the gate's.
        cache: of this search.
    """
    recipe = _recipe(source, gate, layers, probes, cache)
    broken = hurting(recipe, gate.limits)
    repairs = []
    if _harm(recipe, broken) > WORTH_MENDING * gate.limits.kldiv_mean:
        octaves = _octaves(source, recipe, broken)
        mended = source.equalised(octaves)
        found = _recipe(mended, gate, layers, probes, cache, "equalised ")
        if _harm(found, broken) < _harm(recipe, broken):
            source, recipe = mended, found
            repairs.append(EQUALISATION)
    if _correction_pays(source, recipe, broken, gate, probes, cache):
        recipe = replace(recipe, corrects_bias=True)
        repairs.append(BIAS_CORRECTION)
    return Start(source=source, recipe=recipe, broken=broken, repairs=tuple(repairs))


def _recipe(
    source: Int8Source,
    gate: Gate,
    layers: Sequence[ConvLayer],
    probes: FrameSet,
    cache: SearchCache,
    label: str = "",
) -> Recipe:
    segments = Segments(source.fp32, gate.contract, layers)
    measures = measure_layers(segments, layers, source.ranges.tensors, probes.pixels, cache, label)
    return recipe_of(source.fp32, segments, layers, measures)


def _harm(recipe: Recipe, broken: frozenset[str]) -> float:
    """Sum up the divergences that the layers cause alone; those that stay float anyway cause none."""
    return sum(measure.kldiv_alone for name, measure in recipe.measures.items() if name not in broken)


def _octaves(source: Int8Source, recipe: Recipe, broken: frozenset[str]) -> Octaves:
    """Choose octaves for what int8 layers read: what breaks the gate is named, not hidden in its weights."""
    measures = {name: measure for name, measure in recipe.measures.items() if name not in broken}
    return choose_octaves(find_links(source.fp32), source.ranges.tensors, measures)


def _correction_pays(
    source: Int8Source,
    recipe: Recipe,
    kept: frozenset[str],
    gate: Gate,
    probes: FrameSet,
    cache: SearchCache,
) -> bool:
    """Try a set with and without corrected biases on the probes, against the fp32 graph."""

    def measure() -> dict[str, bool]:
        exact = ort_maps(source.fp32, gate.contract, probes.pixels)
        found = []
        for corrects in (False, True):
            model = quantize(source.rounded, replace(recipe, corrects_bias=corrects).convs(kept))
            maps = ort_maps(model, gate.contract, probes.pixels)
            agreements = {
                name: agreement(*pair) for name, *pair in zip(probes.names, maps, exact, strict=True)
            }
            found.append(gate_figures(agreements).kldiv_mean)
        return {"pays": found[1] < found[0]}

    return bool(cache.once(BIAS_CORRECTION, measure)["pays"])
