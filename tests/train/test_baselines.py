"""The centre prior, other images' fixations, and halves of observers."""

from __future__ import annotations

import numpy as np
import pytest

from saliency_edge.train.datasets.sample import Fixations
from saliency_edge.train.evaluate import (
    GRID_HW,
    OTHERS_LIMIT,
    CentrePrior,
    FixationPool,
    on_grid,
    split_observers,
)


def test_prior_of_an_image_has_not_seen_it() -> None:
    corner, rest = np.zeros(GRID_HW, np.float32), np.ones(GRID_HW, np.float32)
    corner[0, 0] = 1
    prior = CentrePrior.of([on_grid(corner), on_grid(rest), on_grid(rest)])

    assert prior.without(0)[0, 0] == pytest.approx(1 / corner.size, rel=1e-4)
    assert prior.without(1)[0, 0] == pytest.approx(0.99 * (1 + 1 / corner.size) / 2, rel=1e-3)
    assert prior.without(1).sum() == pytest.approx(1, rel=1e-6)


def test_prior_of_a_single_image_is_uniform() -> None:
    prior = CentrePrior.of([on_grid(np.eye(*GRID_HW, dtype=np.float32))])

    np.testing.assert_allclose(prior.without(0), 1 / np.prod(GRID_HW))


def test_other_images_fixations_are_scaled_to_this_one() -> None:
    first = Fixations(xy=np.array([[10.0, 10.0]]), subject=np.array([0]))
    second = Fixations(xy=np.array([[50.0, 20.0], [0.0, 99.0]]), subject=np.array([0, 1]))
    pool = FixationPool.of([first, second, None], [(20, 40), (100, 100), (10, 10)])

    np.testing.assert_allclose(pool.others(0, (20, 40), 0), [[20, 4], [0, 19.8]])
    np.testing.assert_allclose(pool.others(1, (100, 100), 0), [[25, 50]])
    assert len(pool.others(2, (10, 10), 0)) == 3


def test_observers_are_split_into_halves_that_share_nobody() -> None:
    subject = np.repeat(np.arange(7), 3)
    fixations = Fixations(xy=np.arange(42, dtype=float).reshape(21, 2), subject=subject)

    halves = split_observers(fixations, seed=3)

    assert halves is not None
    people = [set(half.subject.tolist()) for half in halves]
    assert [len(one) for one in people] == [3, 4]
    assert people[0].isdisjoint(people[1])
    assert sum(len(half.xy) for half in halves) == 21


def test_one_observer_is_not_split() -> None:
    fixations = Fixations(xy=np.zeros((5, 2)), subject=np.full(5, 3))

    assert split_observers(fixations, seed=0) is None


def test_a_large_pool_is_drawn_from_by_the_seed() -> None:
    xy = np.random.default_rng(0).uniform(0, 100, (OTHERS_LIMIT + 1000, 2))
    crowd = Fixations(xy=xy, subject=np.zeros(len(xy), np.int64))
    pool = FixationPool.of([None, crowd], [(100, 100), (100, 100)])

    drawn = [pool.others(0, (100, 100), seed) for seed in (1, 1, 2)]

    assert [len(one) for one in drawn] == [OTHERS_LIMIT] * 3
    assert len(np.unique(drawn[0], axis=0)) == OTHERS_LIMIT
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
