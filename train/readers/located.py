"""Fixations from what the layouts store: points by subject, or a map of their pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..samples import Fixations


def join_subjects(points: Sequence[NDArray[np.float64]]) -> Fixations:
    """Join each subject's (K, 2) fixations; subjects are numbered in their order."""
    counts = [len(one) for one in points]
    xy = np.concatenate([np.empty((0, 2)), *points])
    return Fixations(xy=xy, subject=np.repeat(np.arange(len(points)), counts))


def fixations_at(located: NDArray[np.bool_]) -> tuple[Fixations, tuple[int, int]]:
    """Read fixations from a (h, w) map that is true in their pixels; nobody tells whose they are.

    Returns:
        The fixations, all of subject 0, and the stimulus' height and width.
    """
    row, column = np.nonzero(located)
    xy = np.stack([column, row], axis=1).astype(np.float64)
    height, width = located.shape
    return Fixations(xy=xy, subject=np.zeros(len(xy), np.int64), in_order=False), (height, width)
