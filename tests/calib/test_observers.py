"""Counting and observers, against numpy on all values at once and ONNX Runtime's calibrator."""

from __future__ import annotations

import numpy as np
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector

from saliency_edge.calib.observers import (
    BINS_PER_OCTAVE,
    LEVELS,
    Magnitudes,
    TensorCounter,
    entropy,
    int8_mse,
    mse,
    percentile,
    thresholds_of,
)
from saliency_edge.calib.ranges import OBSERVERS

GENERATOR = np.random.default_rng(0)
TENSORS = {
    "behind_a_relu": np.maximum(GENERATOR.normal(-1, 2, 300_000), 0),
    "signed": GENERATOR.normal(0.3, 1, 300_000),
    "long_tail": GENERATOR.laplace(0, 1, 300_000) ** 3,
    "outlier_channel": np.concatenate([GENERATOR.normal(0, 1, 299_000), GENERATOR.normal(0, 1000, 1000)]),
    "even": GENERATOR.uniform(-2, 2, 300_000),
}


def magnitudes_of(*values: np.ndarray) -> Magnitudes:
    counter = TensorCounter()
    for part in values:
        counter.add(part.astype(np.float32))
    return counter.magnitudes()


def real_mse(values: np.ndarray, threshold: float) -> float:
    scale = threshold / LEVELS
    return float(np.mean((np.clip(np.rint(values / scale), -LEVELS, LEVELS) * scale - values) ** 2))


@pytest.fixture(params=TENSORS)
def values(request: pytest.FixtureRequest) -> np.ndarray:
    return TENSORS[request.param].astype(np.float32).astype(np.float64)


def test_every_value_is_counted_in_the_bin_that_holds_it(values: np.ndarray) -> None:
    found = magnitudes_of(values)
    edges = np.append(found.lower, np.nextafter(found.upper[-1], np.inf))

    np.testing.assert_array_equal(found.counts, np.histogram(np.abs(values), edges)[0])
    assert found.maximum == np.abs(values).max()
    normal = found.lower > 0
    assert (found.upper / np.maximum(found.lower, 1e-30))[normal].max() <= 1 + 1 / BINS_PER_OCTAVE


def test_the_order_and_the_parts_do_not_matter(values: np.ndarray) -> None:
    whole = magnitudes_of(values)
    parts = [TensorCounter() for _ in range(3)]
    for part, chunk in zip(parts, np.array_split(values[::-1], 3), strict=True):
        part.add(chunk.astype(np.float32))
    merged = TensorCounter.merged(parts).magnitudes()

    for name in ("lower", "upper", "counts"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name), err_msg=name)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_values_are_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        TensorCounter().add(np.array([0, broken, 1], np.float32))


@pytest.mark.parametrize("share", [99.9, 99.99, 99.999])
def test_percentile_is_numpys_on_all_values(values: np.ndarray, share: float) -> None:
    expected = np.percentile(np.abs(values), share)

    assert percentile(magnitudes_of(values), share) == pytest.approx(expected, rel=3e-3)


def test_percentile_is_onnxruntimes(values: np.ndarray) -> None:
    collector = HistogramCollector("percentile", True, 20_000, 128, 99.9, "same")
    collector.collect({"x": [values.astype(np.float32)]})
    (_, expected), *_ = [pair[:2] for pair in collector.compute_percentile().values()]
    bin_width = np.abs(values).max() / 20_000

    assert percentile(magnitudes_of(values), 99.9) == pytest.approx(float(expected), rel=3e-3, abs=bin_width)


def test_mse_threshold_is_as_good_as_the_best_of_all_values(values: np.ndarray) -> None:
    maximum = np.abs(values).max()
    best = min(real_mse(values, maximum * share) for share in np.linspace(0.002, 1, 500))
    threshold = mse(magnitudes_of(values))

    assert real_mse(values, threshold) <= 1.03 * best
    assert int8_mse(magnitudes_of(values), threshold) == pytest.approx(real_mse(values, threshold), rel=0.05)


def test_mse_clips_a_long_tail_and_not_an_even_spread() -> None:
    assert mse(magnitudes_of(TENSORS["long_tail"])) < 0.9 * np.abs(TENSORS["long_tail"]).max()
    assert mse(magnitudes_of(TENSORS["even"])) == pytest.approx(2, rel=0.03)


def slow_entropy(values: np.ndarray, step: int) -> float:
    """Follow the published pseudo-code, loop by loop, on a histogram of all values that are not zero."""
    magnitudes = np.abs(values[values != 0])
    bins, edges = np.histogram(magnitudes, 2048, (0, magnitudes.max()))
    divergences = {}
    for end in range(128, 2049, step):
        reference = bins[:end].astype(float)
        reference[-1] += bins[end:].sum()
        quantised = np.zeros(end)
        levels = np.arange(end) * 128 // end
        for level in range(128):
            members = (levels == level) & (reference > 0)
            if members.any():
                quantised[members] = bins[:end][levels == level].sum() / members.sum()
        kept = reference > 0
        p, q = reference[kept] / reference.sum(), np.maximum(quantised[kept] / quantised.sum(), 1e-12)
        divergences[end] = float(np.sum(p * np.log(p / q)))
    return float(edges[min(divergences, key=lambda end: divergences[end])])


def test_entropy_is_the_published_algorithm(values: np.ndarray) -> None:
    assert entropy(magnitudes_of(values)) == pytest.approx(slow_entropy(values, 16), rel=0.05)


def test_zeros_do_not_move_the_entropy_threshold() -> None:
    signed = TENSORS["signed"]
    with_zeros = np.concatenate([signed, np.zeros(3_000_000)])

    assert entropy(magnitudes_of(with_zeros)) == entropy(magnitudes_of(signed))


def test_a_tensor_of_zeros_has_thresholds_that_can_be_used() -> None:
    assert thresholds_of(magnitudes_of(np.zeros(10))) == dict.fromkeys(OBSERVERS, 1.0)


def test_thresholds_are_ordered_and_named(values: np.ndarray) -> None:
    found = thresholds_of(magnitudes_of(values))
    rising = [found[name] for name in ("percentile_99.9", "percentile_99.99", "percentile_99.999", "minmax")]

    assert tuple(found) == OBSERVERS
    assert rising == sorted(rising)
    assert all(0 < threshold <= found["minmax"] for threshold in found.values())
