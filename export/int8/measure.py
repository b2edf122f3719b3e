"""What int8 does to each convolution alone: the pass that the search decides on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calib.ranges import OBSERVERS, Observer, TensorRange
from ...runtime.contract import OUTPUT_NAME
from ...runtime.progress import progress
from ..parity import agreement
from .layers import ConvLayer
from .scales import scale_of
from .search_cache import SearchCache
from .segments import Captured, Floats, Segments

_SQNR_CEILING_DB = 200.0
_OUTLIER_RATIO = 30.0
HEADROOM = 0.5
"""As a part of the octaves between a threshold and the largest value: docs/adr/015-search-keeps-layers.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One convolution, alone in int8.

    Attributes:
        observer: the one whose threshold disturbs the output least.
        threshold: the same, with headroom.
        sqnr_db: of the output at it, behind its ReLU.
        mean_error: (O,) of the output's channels, before the ReLU: what a corrected bias takes away.
        cc_alone: smallest correlation of the maps with those of the fp32 graph.
        kldiv_alone: largest divergence from them.
        reach: (I,) largest absolute value of its input's channels.
    """

    observer: Observer
    threshold: float
    sqnr_db: float
    mean_error: tuple[float, ...]
    cc_alone: float
    kldiv_alone: float
    reach: tuple[float, ...]

    def outlier(self) -> str:
        """Name a channel of its input that stands out; empty where none does."""
        reach = np.array(self.reach)
        median = float(np.median(reach[reach > 0])) if (reach > 0).any() else 1.0
        ratio = float(reach.max()) / median
        if ratio < _OUTLIER_RATIO:
            return ""
        return f"channel {reach.argmax()} of its input reaches {ratio:.0f} times the median"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """A convolution's outputs at one observer's threshold, and how much noise is in them."""

    observer: Observer
    threshold: float
    outputs: list[Floats]
    noise: float


def measure_layers(
    segments: Segments,
    layers: Sequence[ConvLayer],
    ranges: Mapping[str, TensorRange],
    frames: NDArray[np.uint8],
    cache: SearchCache,
) -> dict[str, Measure]:
    """Quantise each convolution alone, at the threshold of each observer, and follow the best to the map.

    Args:
        segments: of the fp32 graph.
        layers: convolutions that may be int8.
        ranges: of the activations that they read, by the tensor's name.
        frames: (K, H, W, 3) BGR, at the network's size.
        cache: of this search.

    Returns:
        The measures by the node's name.
    """

    def choose(bench: _Bench) -> _Trial:
        return _best_trial(bench, ranges[bench.layer.tensor])

    return _measure_all(segments, layers, frames, choose, cache, "")


def measure_again(
    segments: Segments,
    layers: Sequence[ConvLayer],
    measures: Mapping[str, Measure],
    thresholds: Mapping[str, float],
    frames: NDArray[np.uint8],
    cache: SearchCache,
) -> dict[str, Measure]:
    """Measure each convolution alone in a repaired graph, at thresholds that are settled.

    Args:
        segments: of the repaired fp32 graph.
        layers: convolutions that may be int8.
        measures: of the graph as it was: the observers that the thresholds come from.
        thresholds: by the node's name.
        frames: (K, H, W, 3) BGR, at the network's size.
        cache: of this search.

    Returns:
        The measures by the node's name.
    """

    def choose(bench: _Bench) -> _Trial:
        node = bench.layer.node
        return bench.tried(measures[node].observer, thresholds[node])

    return _measure_all(segments, layers, frames, choose, cache, "repaired: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """A convolution, and what it reads and gives on some frames.

    Attributes:
        segments: of the fp32 graph.
        layer: the convolution.
        captured: what `segments` captured, frame by frame.
        exact: its outputs in fp32.
    """

    segments: Segments
    layer: ConvLayer
    captured: Sequence[Captured]
    exact: Sequence[Floats]

    def tried(self, observer: Observer, threshold: float) -> _Trial:
        data = (frame[self.layer.tensor] for frame in self.captured)
        kernel = self.segments.kernel(self.layer)
        outputs = self.segments.convolve_int8(self.layer, data, kernel, threshold)
        noise = relative_noise(outputs, self.exact)
        return _Trial(observer=observer, threshold=threshold, outputs=outputs, noise=noise)


def _measure_all(
    segments: Segments,
    layers: Sequence[ConvLayer],
    frames: NDArray[np.uint8],
    choose: Callable[[_Bench], _Trial],
    cache: SearchCache,
    label: str,
) -> dict[str, Measure]:
    is_known = all(f"{label}{layer.node}" in cache for layer in layers)
    captured = [] if is_known else segments.capture(frames)
    found: dict[str, Measure] = {}
    with progress("int8: layers tried alone", len(layers)) as advance:
        for layer in layers:
            values = cache.once(f"{label}{layer.node}", partial(_measured, segments, layer, captured, choose))
            lists = {name: tuple(values[name]) for name in ("mean_error", "reach")}
            found[layer.node] = Measure(**{**values, **lists})
            advance()
    return found


def _measured(
    segments: Segments,
    layer: ConvLayer,
    captured: Sequence[Captured],
    choose: Callable[[_Bench], _Trial],
) -> dict[str, Any]:
    """Measure one convolution; the fields of `Measure`."""
    kernel = segments.kernel(layer)
    exact = [segments.convolve(layer, frame[layer.tensor], kernel) for frame in captured]
    best = choose(_Bench(segments=segments, layer=layer, captured=captured, exact=exact))
    errors = np.mean(
        [np.mean(out - own, axis=(0, 2, 3)) for out, own in zip(best.outputs, exact, strict=True)], axis=0
    )
    maps = segments.finish(layer, best.outputs, captured)
    found = [agreement(own, frame[OUTPUT_NAME][0]) for own, frame in zip(maps, captured, strict=True)]
    reach = np.max([np.abs(frame[layer.tensor]).max(axis=(0, 2, 3)) for frame in captured], axis=0)
    measure = Measure(
        observer=best.observer,
        threshold=best.threshold,
        sqnr_db=min(_SQNR_CEILING_DB, -10 * float(np.log10(max(best.noise, 1e-20)))),
        mean_error=tuple(float(error) for error in errors),
        cc_alone=min(frame.cc for frame in found),
        kldiv_alone=max(frame.kldiv for frame in found),
        reach=tuple(float(largest) for largest in reach),
    )
    return asdict(measure)


def _best_trial(bench: _Bench, tensor: TensorRange) -> _Trial:
    """Find the observer whose threshold disturbs the output least, then give that threshold headroom."""
    trials = (bench.tried(*item) for item in _distinct(tensor.thresholds))
    best = min(trials, key=lambda trial: trial.noise)
    return bench.tried(best.observer, _with_headroom(best.threshold, tensor.thresholds["minmax"]))


def _distinct(thresholds: Mapping[Observer, float]) -> list[tuple[Observer, float]]:
    """Give each scale once, the largest first: of equals the one that clips least is tried first."""
    by_scale = {scale_of(thresholds[name]): (name, thresholds[name]) for name in reversed(OBSERVERS)}
    return [by_scale[scale] for scale in sorted(by_scale, reverse=True)]


def _with_headroom(threshold: float, largest: float) -> float:
    """Raise a threshold towards the largest value that calibration saw, by `HEADROOM` of their distance."""
    return float(threshold ** (1 - HEADROOM) * largest**HEADROOM)


def relative_noise(outputs: Sequence[Floats], exact: Sequence[Floats]) -> float:
    """Divide the noise's power by the signal's, behind the ReLU, mean over the frames."""
    ratios = []
    for out, own in zip(outputs, exact, strict=True):
        signal = np.maximum(own, 0)
        noise = np.maximum(out, 0) - signal
        ratios.append(
            float(np.sum(noise**2, dtype=np.float64) / max(np.sum(signal**2, dtype=np.float64), 1e-30))
        )
    return float(np.mean(ratios))
