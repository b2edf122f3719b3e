"""The official figures of a model on a dataset, beside those of a centre prior and of other people.

- model: every map is cut to the photograph and resized to the stimulus.
- centre prior: for each image, the mean ground truth of all other images, with 1 % of the uniform density.
- inter-observer: the people who looked are parted at random; the blurred fixations of one half predict those
  of the other, and the other way round. A tenth of the centre prior is mixed in. It takes half the people,
  so it is a low estimate of what is possible.

The information gain is over the centre prior. Sets differ in how much people agree and in how central things
are, so figures of two sets do not compare; how far a figure is of the way from the centre prior to the other
people does (`Evaluation.normalised`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.backends.backend import Model, saliency_of
from ..runtime.errors import ArtifactError, InputError
from ..runtime.metrics import density
from ..runtime.options import MAX_SEED, check_range
from . import metrics
from .datasets import read_map, read_photo
from .datasets.read_sample import SIGMA_OF_SIDE
from .datasets.sample import Dataset, Fixations, Sample, fixation_map

Map = metrics.FloatMap
PredictMap = Callable[[Sample], Map]
Progress = Callable[[Sequence[Sample], str], Iterable[Sample]]

METRICS = ("CC", "KLDiv", "SIM", "NSS", "AUC-Judd", "AUC-Borji", "sAUC", "IG")
MODEL, PRIOR, OBSERVERS = "model", "centre prior", "inter-observer"
NORMALISED = "prior 0, observers 1"
RESAMPLES = 2000
PRIOR_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """How to evaluate.

    Attributes:
        sigma_px: of the Gaussian that blurs raw fixations, in pixels of the stimulus; where it is None,
            14/640 of the stimulus' width. Maps from files are taken as they are.
        seed: of all that is drawn: pixels, other images' fixations, halves of observers, resampled images.
    """

    sigma_px: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one of them cannot be.
        """
        check_range("--seed", self.seed, 0, MAX_SEED)
        if self.sigma_px is not None:
            check_range("the blur in pixels (--sigma)", self.sigma_px, 0.1, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over images with its 95 % bootstrap interval, and over how many images it was defined."""

    mean: float
    low: float
    high: float
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of each image.

    Attributes:
        names: of the images, (n,).
        scores: by line (`MODEL`, `PRIOR`, `OBSERVERS`), (n, m) in order of `METRICS`; NaN where undefined.
        seed: for the bootstrap.
    """

    names: Sequence[str]
    scores: Mapping[str, NDArray[np.float64]]
    seed: int

    def estimates(self, line: str) -> dict[str, Estimate]:
        """Average a line's metrics; those that are undefined for all images are left out."""
        columns = zip(METRICS, self.scores[line].T, strict=True)
        return {name: _estimate(column, self.seed) for name, column in columns if not np.isnan(column).all()}

    def normalised(self) -> dict[str, Estimate]:
        """Tell how far of the way from the centre prior to the inter-observer figure the model is.

        (model - prior) / (observers - prior), of the means over the images where all three are defined: 0 is
        the prior, 1 the observers; half the people are a low limit, so more than 1 is possible. Metrics
        without an inter-observer figure are left out, and those in which the observers are not clearly apart
        from the prior: where the interval of their difference holds 0.
        """
        lines = np.stack([self.scores[line] for line in (MODEL, PRIOR, OBSERVERS)])  # (3, n, m)
        figures = {}
        for column, name in enumerate(METRICS):
            scores = lines[:, :, column]
            if np.isnan(scores).any(axis=0).all():
                continue
            way = _estimate(scores[2] - scores[1], self.seed)
            if way.low * way.high > 0:
                figures[name] = _estimate(scores, self.seed, _share_of_the_way)
        return figures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Truth:
    """What people looked at in one image, and what its scores are relative to."""

    map: Map
    xy: NDArray[np.float64] | None
    others_xy: NDArray[np.float64]
    prior: Map
    seed: int


def predictor_of(engine: Model) -> PredictMap:
    """Give the function from a sample to the engine's map of it, fitted as at run time."""

    def predict(sample: Sample) -> Map:
        saliency = saliency_of(engine, read_photo(sample.image), sample.size_hw)
        if not np.isfinite(saliency).all():
            raise ArtifactError(
                f"{sample.name}: the model's map is not finite. Train or export the model again"
            )
        return saliency

    return predict


def evaluate(
    predict: PredictMap, dataset: Dataset, config: EvaluationConfig, progress: Progress
) -> Evaluation:
    """Score a model and its baselines on a dataset.

    Args:
        predict: gives a (h, w) map of the whole stimulus, any size and range.
        dataset: with maps, fixations or both.
        config: how.
        progress: wraps the samples, with what is counted, to show how far it is.

    Raises:
        InputError: a file cannot be read.
    """
    samples = list(dataset)
    grids = [on_grid(truth_map(sample, config)) for sample in progress(samples, "centre prior, images")]
    prior = CentrePrior.of(grids)
    pool = FixationPool.of([sample.fixations for sample in samples], [_size_hw(sample) for sample in samples])
    rows: dict[str, list[NDArray[np.float64]]] = {MODEL: [], PRIOR: [], OBSERVERS: []}
    for index, sample in enumerate(progress(samples, "images")):
        seed = (config.seed + index) % (MAX_SEED + 1)
        truth = _Truth(
            map=truth_map(sample, config),
            xy=sample.fixations.xy if sample.fixations else None,
            others_xy=pool.others(index, _size_hw(sample), config.seed),
            prior=prior.without(index),
            seed=seed,
        )
        rows[MODEL].append(_scores(predict(sample), truth))
        rows[PRIOR].append(_scores(truth.prior, truth))
        rows[OBSERVERS].append(_observer_scores(sample, truth, config))
    scores = {line: np.stack(values) for line, values in rows.items()}
    return Evaluation(names=[sample.name for sample in samples], scores=scores, seed=config.seed)


def truth_map(sample: Sample, config: EvaluationConfig) -> NDArray[np.float32]:
    """Read a sample's density map at the stimulus' size, or blur its fixations to one.

    Returns:
        (h, w), any scale.

    Raises:
        InputError: the file cannot be read, or the sample has no ground truth.
    """
    if sample.map_file is not None:
        return metrics.resize_map(read_map(sample.map_file), _size_hw(sample)).astype(np.float32)
    if sample.fixations is None:
        raise InputError(f"{sample.name} has neither a map nor fixations. Leave it out")
    return _blurred(sample.fixations, _size_hw(sample), config)


def _scores(prediction: Map, truth: _Truth) -> NDArray[np.float64]:
    """Compute all metrics of one map, in order of `METRICS`."""
    saliency = metrics.resize_map(prediction, truth.map.shape)
    against_map = [measure(saliency, truth.map) for measure in (metrics.cc, metrics.kldiv, metrics.sim)]
    if truth.xy is None:
        return np.array(against_map + [np.nan] * (len(METRICS) - len(against_map)))
    against_fixations = [
        metrics.nss(saliency, truth.xy),
        metrics.auc_judd(saliency, truth.xy),
        metrics.auc_borji(saliency, truth.xy, seed=truth.seed),
        metrics.auc_shuffled(saliency, truth.xy, truth.others_xy),
        metrics.information_gain(saliency, truth.prior, truth.xy),
    ]
    return np.array(against_map + against_fixations)


def _observer_scores(sample: Sample, truth: _Truth, config: EvaluationConfig) -> NDArray[np.float64]:
    """Let each half of the observers predict the other; the mean of both ways."""
    halves = split_observers(sample.fixations, truth.seed) if sample.fixations else None
    if halves is None:
        return np.full(len(METRICS), np.nan)
    blurred = [_blurred(half, _size_hw(sample), config) for half in halves]
    there, back = (
        _scores(_with_prior(blurred[0], truth.prior), replace(truth, map=blurred[1], xy=halves[1].xy)),
        _scores(_with_prior(blurred[1], truth.prior), replace(truth, map=blurred[0], xy=halves[0].xy)),
    )
    return (there + back) / 2


def _with_prior(observed: Map, prior: Map) -> Map:
    """Mix some of the prior in: few people leave most pixels at 0, which KLDiv and IG would not forgive."""
    wide = metrics.density(metrics.resize_map(prior, observed.shape))
    return (1 - PRIOR_SHARE) * metrics.density(observed) + PRIOR_SHARE * wide


def _blurred(fixations: Fixations, size_hw: tuple[int, int], config: EvaluationConfig) -> NDArray[np.float32]:
    sigma_px = SIGMA_OF_SIDE * max(size_hw) if config.sigma_px is None else config.sigma_px
    return fixation_map(fixations.xy, size_hw, sigma_px)


def _size_hw(sample: Sample) -> tuple[int, int]:
    if sample.size_hw is not None:
        return sample.size_hw
    height, width = read_photo(sample.image).shape[:2]
    return height, width


def _estimate(
    scores: NDArray[np.float64],
    seed: int,
    average: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Estimate:
    """Average over the images where a score is defined, and resample these for the interval.

    Args:
        scores: (n,), or (k, n) where the figure is made of k scores of each image.
        seed: for the bootstrap.
        average: from (..., n) or (k, ..., n) to (...); without it the mean.
    """
    defined = scores[..., ~np.isnan(np.atleast_2d(scores)).any(axis=0)]
    count = defined.shape[-1]
    average = average or (lambda values: values.mean(axis=-1))
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    low, high = np.percentile(average(defined[..., drawn]), [2.5, 97.5])
    return Estimate(mean=float(average(defined)), low=float(low), high=float(high), images=count)


def _share_of_the_way(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """(model - prior) / (observers - prior) from the three lines' scores (3, ..., n)."""
    model, prior, observers = lines.mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((model - prior) / (observers - prior))


def means_over_sets(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, Estimate]]:
    """Average the sets' figures, each set counting the same; of a metric, over the sets that define it.

    Returns:
        By line (`MODEL`, `PRIOR`, `OBSERVERS`, `NORMALISED`) and metric. `images` is the number of images in
        all; the interval is that of independent sets.
    """
    tables = [
        {**{line: one.estimates(line) for line in one.scores}, NORMALISED: one.normalised()}
        for one in evaluations
    ]
    return {
        line: {
            name: _mean_estimate([table[line][name] for table in tables if name in table[line]])
            for name in METRICS
            if any(name in table[line] for table in tables)
        }
        for line in (MODEL, PRIOR, OBSERVERS, NORMALISED)
    }


def _mean_estimate(sets: Sequence[Estimate]) -> Estimate:
    mean = sum(one.mean for one in sets) / len(sets)
    below = sum((one.mean - one.low) ** 2 for one in sets) ** 0.5 / len(sets)
    above = sum((one.high - one.mean) ** 2 for one in sets) ** 0.5 / len(sets)
    return Estimate(mean=mean, low=mean - below, high=mean + above, images=sum(one.images for one in sets))


GRID_HW = (60, 80)
UNIFORM_SHARE = 0.01
OTHERS_LIMIT = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CentrePrior:
    """The mean of all images' ground truth, on a grid; each image is judged by the mean of the others.

    Attributes:
        densities: (n, h, w) of all images, each with a sum of 1.
        total: (h, w), their sum.
    """

    densities: NDArray[np.float32]
    total: NDArray[np.float64]

    @classmethod
    def of(cls, truths: Sequence[NDArray[np.float32]]) -> CentrePrior:
        """Take the prior from ground-truth maps that `on_grid` has reduced."""
        densities = np.stack(truths)
        return cls(densities=densities, total=densities.sum(axis=0, dtype=np.float64))

    def without(self, index: int) -> NDArray[np.float64]:
        """Give the prior for one image: the mean of all others, and a little of the uniform density.

        Returns:
            (h, w) with a sum of 1, nowhere 0; uniform where there are no others.
        """
        return (1 - UNIFORM_SHARE) * density(
            self.total - self.densities[index]
        ) + UNIFORM_SHARE / self.total.size


def on_grid(truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduce a ground-truth map to a density on the prior's grid."""
    reduced = cv2.resize(truth, (GRID_HW[1], GRID_HW[0]), interpolation=cv2.INTER_AREA)
    return density(np.asarray(reduced)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixationPool:
    """All images' fixations, as fractions of width and height, for the shuffled AUC.

    Attributes:
        xy: (M, 2), 0 to 1.
        image: (M,) number of the image.
    """

    xy: NDArray[np.float64]
    image: NDArray[np.intp]

    @classmethod
    def of(cls, fixations: Sequence[Fixations | None], sizes_hw: Sequence[tuple[int, int]]) -> FixationPool:
        """Pool fixations, with the sizes of the stimuli that they count in."""
        points = [np.empty((0, 2)) if one is None else one.xy for one in fixations]
        scaled = [xy / np.array(size_hw[::-1]) for xy, size_hw in zip(points, sizes_hw, strict=True)]
        image = np.repeat(np.arange(len(points)), [len(xy) for xy in points])
        return cls(xy=np.concatenate([np.empty((0, 2)), *scaled]), image=image)

    def others(self, index: int, size_hw: tuple[int, int], seed: int) -> NDArray[np.float64]:
        """Give the fixations of all other images in pixels of this one.

        Args:
            index: this image's number.
            size_hw: its height and width.
            seed: where there are more than `OTHERS_LIMIT`, so many are drawn.

        Returns:
            (M', 2) x, y.
        """
        others = np.flatnonzero(self.image != index)
        if len(others) > OTHERS_LIMIT:
            others = np.random.default_rng((seed, index)).choice(others, OTHERS_LIMIT, replace=False)
        return np.multiply(self.xy[others], size_hw[::-1])


def split_observers(fixations: Fixations, seed: int) -> tuple[Fixations, Fixations] | None:
    """Part the people who looked into two halves at random; None where there is but one."""
    subjects = np.unique(fixations.subject)
    if len(subjects) < 2:
        return None
    first = np.random.default_rng(seed).permutation(subjects)[: len(subjects) // 2]
    chosen = np.isin(fixations.subject, first)
    return _only(fixations, chosen), _only(fixations, ~chosen)


def _only(fixations: Fixations, chosen: NDArray[np.bool_]) -> Fixations:
    return replace(fixations, xy=fixations.xy[chosen], subject=fixations.subject[chosen])
