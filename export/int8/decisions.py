"""Which layers stay float, and the reason for each layer's precision in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from .layers import ConvLayer
from .measure import Measure
from .quantize import Int8Conv
from .recipe import Recipe
from .results import GateLimits, LayerDecision
from .scales import quantized_weights

NO_RUNTIMES: Mapping[str, str] = {}


def hurting(recipe: Recipe, limits: GateLimits) -> frozenset[str]:
    """Name the layers that would break the gate alone."""
    return frozenset(name for name, measure in recipe.measures.items() if _breaks(measure, limits))


def by_harm(recipe: Recipe, kept: Set[str]) -> list[str]:
    """Name the layers that are not kept, the one that hurts most alone first."""
    names = [layer.node for layer in recipe.layers if layer.node not in kept]
    return sorted(names, key=lambda name: -recipe.measures[name].kldiv_alone)


def decisions(
    layers: Sequence[ConvLayer],
    recipe: Recipe,
    limits: GateLimits,
    kept: Set[str],
    steadying: Set[str] = frozenset(),
    for_runtimes: Mapping[str, str] = NO_RUNTIMES,
) -> tuple[LayerDecision, ...]:
    """Write down the decision on each convolution.

    Args:
        layers: all of them, in the graph's order.
        recipe: how they are quantised.
        limits: of the gate.
        kept: names of those that could be int8 and stay float.
        steadying: those of them that stay so against shimmer.
        for_runtimes: those of them that stay so because a runtime errs with them, and its name.
    """
    convs = recipe.convs(kept)
    found = [
        _decision(layer, recipe, limits, convs.get(layer.node), steadies=layer.node in steadying)
        for layer in layers
    ]
    return tuple(
        replace(each, reason=f"{for_runtimes[each.node]} does not pass the gate with it in int8")
        if each.node in for_runtimes
        else each
        for each in found
    )


def _decision(
    layer: ConvLayer, recipe: Recipe, limits: GateLimits, conv: Int8Conv | None, *, steadies: bool
) -> LayerDecision:
    if layer.refused is not None:
        return LayerDecision(
            node=layer.node, precision="float", reason=layer.refused, macs=layer.macs, tensor=layer.tensor
        )
    measure = recipe.measures[layer.node]
    scales = quantized_weights(recipe.kernels[layer.node].weights)[1]
    return LayerDecision(
        node=layer.node,
        precision="int8" if conv else "float",
        reason=_int8_reason(measure, conv) if conv else _float_reason(measure, limits, steadies=steadies),
        macs=layer.macs,
        tensor=layer.tensor,
        observer=measure.observer,
        threshold=conv.threshold if conv else measure.threshold,
        weight_scales=(float(scales.min()), float(scales.max())),
        sqnr_db=measure.sqnr_db,
        cc_alone=measure.cc_alone,
        kldiv_alone=measure.kldiv_alone,
    )


def _int8_reason(measure: Measure, conv: Int8Conv) -> str:
    shared = "" if conv.threshold == measure.threshold else "; it shares the scale of a Concat"
    return f"{_alone(measure)}, and the gate is kept{shared}"


def _float_reason(measure: Measure, limits: GateLimits, *, steadies: bool) -> str:
    outlier = f": {measure.outlier()}" if measure.outlier() else ""
    if steadies:
        return f"{_alone(measure)}, the maps of a clip shimmer with it{outlier}"
    why = "breaks the gate by itself" if _breaks(measure, limits) else "the gate is not kept with it"
    return f"{_alone(measure)}, {why}{outlier}"


def _alone(measure: Measure) -> str:
    return f"alone in int8 CC {measure.cc_alone:.5f}, KLDiv {measure.kldiv_alone:.2g}"


def _breaks(measure: Measure, limits: GateLimits) -> bool:
    return measure.cc_alone < limits.cc_worst or measure.kldiv_alone > limits.kldiv_worst
