"""What a model's figures are held against: a centre prior, other images' fixations, and other people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.metrics import density
from .samples import Fixations

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
