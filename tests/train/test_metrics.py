"""Metrics against pysaliency, against hand-computed values, and at their edges."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.train import metrics

# pysaliency 0.2.22 calls np.trapz, which numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`trapz` is deprecated:DeprecationWarning")

Map = metrics.FloatMap

AGREEMENT = 1e-6  # with pysaliency, where the definition is the same
SIZE_HW = (48, 64)
MAP_METRICS: dict[str, tuple[Callable[[Map, Map], float], str]] = {
    "CC": (metrics.cc, "CC"),
    "KLDiv": (metrics.kldiv, "MIT_KLDiv"),
    "SIM": (metrics.sim, "SIM"),
}
FIXATION_METRICS: dict[str, Callable[[Map, Map], float]] = {
    "NSS": metrics.nss,
    "AUC-Judd": metrics.auc_judd,
    "AUC-Borji": metrics.auc_borji,
    "sAUC": lambda saliency, xy: metrics.auc_shuffled(saliency, xy, np.array([[1.0, 1.0]])),
    "IG": lambda saliency, xy: metrics.information_gain(saliency, np.ones(SIZE_HW), xy),
}


def _maps() -> dict[str, Map]:
    """Maps of the kinds that occur: with zeros, with equal values, negative."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    smooth = np.exp(-((x - 20) ** 2 + (y - 30) ** 2) / 200) + 0.3 * np.exp(
        -((x - 50) ** 2 + (y - 9) ** 2) / 90
    )
    return {
        "random": rng.random(SIZE_HW),
        "smooth": smooth,
        "clipped": np.maximum(smooth - 0.2, 0),
        "negative": rng.normal(size=SIZE_HW),
        "levels": rng.integers(0, 5, SIZE_HW).astype(float),
    }


MAPS = _maps()


@pytest.fixture(scope="module")
def pysaliency() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pkg_resources, and of old numpy names
        module: ModuleType = pytest.importorskip(
            "pysaliency", reason="needs pip install 'saliency-edge[oracle]'"
        )
    if not hasattr(np, "trapz"):  # pysaliency 0.2.22 is older than numpy 2.4, which calls it trapezoid
        np.trapz = np.trapezoid  # type: ignore[attr-defined]
    return module


class Oracle:
    """Three images with fixations, and one fixed map for each of them, as pysaliency has them."""

    def __init__(self, pysaliency: ModuleType, saliency: Map) -> None:
        rng = np.random.default_rng(11)
        self.xy = [rng.integers(0, SIZE_HW[::-1], (count, 2)).astype(float) for count in (17, 40, 9)]
        self.pysaliency = pysaliency
        pictures = [np.full((*SIZE_HW, 3), value, np.uint8) for value in range(len(self.xy))]
        self.stimuli = pysaliency.Stimuli(pictures)
        joined = np.concatenate(self.xy)
        number = np.repeat(np.arange(len(self.xy)), [len(xy) for xy in self.xy])
        self.fixations = pysaliency.Fixations.create_without_history(joined[:, 0], joined[:, 1], number)
        self.model = self.model_of(saliency)

    def model_of(self, saliency: Map) -> Any:
        class Fixed(self.pysaliency.SaliencyMapModel):  # type: ignore[misc, name-defined]
            def _saliency_map(self, _stimulus: NDArray[np.uint8]) -> Map:
                return saliency

        return Fixed()

    def by_image(self, values: Map) -> Map:
        """Average one value for each fixation by image."""
        return np.array([values[self.fixations.n == number].mean() for number in range(len(self.xy))])


@pytest.fixture(params=MAPS)
def oracle(request: pytest.FixtureRequest, pysaliency: ModuleType) -> tuple[Oracle, Map]:
    saliency = MAPS[request.param]
    return Oracle(pysaliency, saliency), saliency


@pytest.mark.parametrize("truth", MAPS)
@pytest.mark.parametrize("prediction", MAPS)
@pytest.mark.parametrize("name", MAP_METRICS)
def test_map_metric_is_pysaliency_s(pysaliency: ModuleType, name: str, prediction: str, truth: str) -> None:
    ours, theirs = MAP_METRICS[name]
    with np.errstate(divide="ignore"):  # pysaliency takes the logarithm of 0
        expected = getattr(pysaliency.metrics, theirs)(MAPS[prediction], MAPS[truth])

    assert ours(MAPS[prediction], MAPS[truth]) == pytest.approx(expected, abs=AGREEMENT)


def test_nss_is_pysaliency_s(oracle: tuple[Oracle, Map]) -> None:
    theirs, saliency = oracle
    expected = theirs.by_image(theirs.model.NSSs(theirs.stimuli, theirs.fixations))

    assert [metrics.nss(saliency, xy) for xy in theirs.xy] == pytest.approx(expected, abs=AGREEMENT)


def test_fixations_between_pixels_are_pysaliency_s(pysaliency: ModuleType) -> None:
    xy = np.random.default_rng(3).uniform(0, np.array(SIZE_HW[::-1]), (200, 2))
    expected = pysaliency.metrics.NSS(MAPS["random"], xy[:, 0], xy[:, 1]).mean()

    assert metrics.nss(MAPS["random"], xy) == pytest.approx(expected, abs=AGREEMENT)


def test_auc_judd_is_pysaliency_s_without_jitter(oracle: tuple[Oracle, Map]) -> None:
    theirs, saliency = oracle
    expected = theirs.model.AUC_per_image(
        theirs.stimuli, theirs.fixations, nonfixations="unfixated", thresholds="fixations"
    )

    assert [metrics.auc_judd(saliency, xy) for xy in theirs.xy] == pytest.approx(expected, abs=AGREEMENT)


@pytest.mark.parametrize("name", ["random", "negative"])  # no equal values for the jitter to part
def test_auc_judd_is_pysaliency_s_with_jitter(pysaliency: ModuleType, name: str) -> None:
    theirs = Oracle(pysaliency, MAPS[name])
    expected = theirs.model.AUC_Judd(theirs.stimuli, theirs.fixations, noise_size=1e-12)

    found = np.mean([metrics.auc_judd(MAPS[name], xy) for xy in theirs.xy])

    assert found == pytest.approx(expected, abs=AGREEMENT)


def test_auc_shuffled_is_pysaliency_s(oracle: tuple[Oracle, Map]) -> None:
    theirs, saliency = oracle
    expected = theirs.model.AUC_per_image(theirs.stimuli, theirs.fixations, nonfixations="shuffled")

    for index, xy in enumerate(theirs.xy):
        others = np.concatenate([other for at, other in enumerate(theirs.xy) if at != index])
        assert metrics.auc_shuffled(saliency, xy, others) == pytest.approx(expected[index], abs=AGREEMENT)


def test_auc_borji_draws_what_pysaliency_s_uniform_auc_takes_whole(oracle: tuple[Oracle, Map]) -> None:
    theirs, saliency = oracle
    expected = theirs.model.AUC_per_image(theirs.stimuli, theirs.fixations, nonfixations="uniform")

    found = [metrics.auc_borji(saliency, xy, splits=5000) for xy in theirs.xy]

    assert found == pytest.approx(expected, abs=4e-3)


@pytest.mark.parametrize("name", ["random", "smooth", "negative"])
def test_information_gain_is_pysaliency_s(pysaliency: ModuleType, name: str) -> None:
    nowhere_0 = MAPS[name] - MAPS[name].min() + 0.1 * np.ptp(MAPS[name])
    baseline = MAPS["smooth"] + 0.05
    theirs = Oracle(pysaliency, nowhere_0)
    density = pysaliency.models.SaliencyMapNormalizingModel(theirs.model, minimum_value=0)
    prior = pysaliency.models.SaliencyMapNormalizingModel(theirs.model_of(baseline), minimum_value=0)
    expected = theirs.by_image(density.information_gains(theirs.stimuli, theirs.fixations, prior))

    found = [metrics.information_gain(nowhere_0, baseline, xy) for xy in theirs.xy]

    assert np.abs(expected).min() > 0.01
    assert found == pytest.approx(expected, abs=AGREEMENT)


def test_values_computed_by_hand() -> None:
    ramp = np.array([[0.0, 1.0, 2.0, 3.0]])
    last, first = np.array([[3.0, 0.0]]), np.array([[0.0, 0.0]])

    assert metrics.nss(ramp, last) == pytest.approx(1.5 / math.sqrt(1.25))
    assert metrics.auc_judd(ramp, last) == 1
    assert metrics.auc_judd(ramp, first) == 0.5  # its only threshold lets everything through
    assert (
        metrics.auc_judd(ramp, np.array([[1.0, 0.0], [3.0, 0.0]])) == 0.875
    )  # (0, 0) (0, .5) (.5, 1) (1, 1)
    assert metrics.auc_shuffled(ramp, np.array([[2.0, 0.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])) == 0.75
    assert metrics.information_gain(ramp, np.ones((1, 4)), last) == pytest.approx(1)  # 3 of 6 against 1 of 4
    assert metrics.kldiv(np.ones((1, 2)), np.array([[1.0, 0.0]])) == pytest.approx(math.log(2))
    assert metrics.sim(np.array([[3.0, 1.0]]), np.ones((1, 2))) == 0.75
    assert metrics.cc(ramp, -ramp) == pytest.approx(-1)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e-9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_map_is_at_chance(value: float, dtype: type[np.floating[Any]]) -> None:
    constant: Map = np.full(SIZE_HW, value, dtype)
    truth = MAPS["smooth"]
    xy = np.array([[3.0, 4.0], [60.0, 40.0], [3.0, 4.0]])

    assert metrics.cc(constant, truth) == 0
    assert metrics.cc(truth, constant) == 0
    assert metrics.cc(constant, constant) == 0
    assert metrics.nss(constant, xy) == 0
    assert [FIXATION_METRICS[name](constant, xy) for name in ("AUC-Judd", "AUC-Borji", "sAUC")] == [0.5] * 3
    assert metrics.information_gain(constant, np.ones(SIZE_HW), xy) == pytest.approx(0, abs=1e-6)
    uniform = np.full(SIZE_HW, 1.0)
    assert metrics.kldiv(constant, truth) == pytest.approx(metrics.kldiv(uniform, truth), abs=1e-6)


@pytest.mark.parametrize("name", FIXATION_METRICS)
@pytest.mark.parametrize("xy", [np.empty((0, 2)), np.array([[-1.0, 5.0], [64.0, 5.0], [5.0, 48.0]])])
def test_without_fixations_inside_a_metric_is_undefined(name: str, xy: Map) -> None:
    assert math.isnan(FIXATION_METRICS[name](MAPS["smooth"], xy))


@pytest.mark.parametrize("name", FIXATION_METRICS)
def test_fixations_outside_are_left_out(name: str) -> None:
    inside = np.array([[10.2, 7.9], [33.0, 12.0]])
    both = np.concatenate([inside, [[-0.1, 3.0], [64.0, 3.0], [3.0, 48.0]]])

    assert FIXATION_METRICS[name](MAPS["smooth"], both) == FIXATION_METRICS[name](MAPS["smooth"], inside)


def test_other_size_is_resized_bilinearly() -> None:
    half_pixel_bilinear = np.array([[0.0, 0.25, 0.75, 1.0]])
    truth = np.array([[0.0, 1.0, 5.0, 2.0]])

    small = np.array([[0.0, 1.0]], np.float32)

    np.testing.assert_allclose(metrics.resize_map(small, (1, 4)), half_pixel_bilinear, atol=1e-7)
    for measure, _ in MAP_METRICS.values():
        assert measure(small, truth) == pytest.approx(measure(half_pixel_bilinear, truth), abs=1e-7)
    xy = np.array([[2.0, 0.0]])
    for with_size in (metrics.nss, metrics.auc_judd, metrics.auc_borji):
        assert with_size(small, xy, (1, 4)) == pytest.approx(with_size(half_pixel_bilinear, xy), abs=1e-7)


def test_auc_borji_is_seeded() -> None:
    xy = np.array([[10.0, 7.0], [33.0, 12.0]])
    found = [metrics.auc_borji(MAPS["random"], xy, seed=seed) for seed in (1, 1, 2)]

    assert found[0] == found[1] != found[2]


def test_measuring_changes_no_map() -> None:
    prediction, truth = MAPS["negative"].copy(), MAPS["smooth"].copy()

    for measure, _ in MAP_METRICS.values():
        measure(prediction, truth)

    np.testing.assert_array_equal(prediction, MAPS["negative"])
    np.testing.assert_array_equal(truth, MAPS["smooth"])
