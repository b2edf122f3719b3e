"""What a dataset holds: one photograph and what people looked at in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from ..metrics import pixels_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixations:
    """Where people looked, in pixels of the photograph.

    Attributes:
        xy: (K, 2) float, x to the right and y down; the first pixel covers 0 to 1, as in pysaliency.
        subject: (K,) int, who looked.
        in_order: a subject's rows stand in the order in which they looked.
    """

    xy: NDArray[np.float64]
    subject: NDArray[np.int64]
    in_order: bool = True

    def without_first(self) -> Fixations:
        """Leave out each subject's first fixation: where the trial began is not where the subject chose."""
        _, first = np.unique(self.subject, return_index=True)
        kept = np.ones(len(self.subject), bool)
        kept[first] = False
        return replace(self, xy=self.xy[kept], subject=self.subject[kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One photograph, by reference, with its ground truth; pixels are read when they are asked for.

    Attributes:
        name: relative path without suffix; unique in its dataset.
        image: the photograph's file.
        map_file: grey fixation density map, where the dataset has one.
        fixations: raw fixations, where the dataset has them.
        size_hw: height and width that the fixations' pixels count in (the stimulus as shown). A
            photograph of another size or aspect is stretched to it.
        teacher_file: a teacher's map, to be learned beside the people's; see `read_ground_truth`.
    """

    name: str
    image: Path
    map_file: Path | None = None
    fixations: Fixations | None = None
    size_hw: tuple[int, int] | None = None
    teacher_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples in a fixed order, and notes on what was left out and why."""

    name: str
    samples: Sequence[Sample]
    notes: Sequence[str] = field(default_factory=tuple)

    def __iter__(self) -> Iterator[Sample]:
        """Go through the samples in order."""
        return iter(self.samples)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.samples)

    def every(self, step: int, start: int = 1) -> Dataset:
        """Keep every `step`-th sample, from the `start`-th (1 is the first) on.

        Raises:
            UsageError: no sample is left.
        """
        kept = self.samples[start - 1 :: step]
        if not kept:
            raise UsageError(f"{self.name} has {len(self)} images: none is left of every {step} from {start}")
        return replace(self, samples=kept)

    def without_first_fixations(self) -> Dataset:
        """Leave out each subject's first fixation; images without others are noted, and left out.

        Raises:
            UsageError: the fixations do not tell who looked first, or there are none.
        """
        samples, notes = [], list(self.notes)
        for sample in self.samples:
            if sample.fixations is None or not sample.fixations.in_order:
                raise UsageError(
                    f"{self.name}, {sample.name}: which fixation came first is not known. Drop --skip-first"
                )
            later = sample.fixations.without_first()
            if len(later.xy):
                samples.append(replace(sample, fixations=later))
            else:
                notes.append(f"{sample.name}: nobody looked twice")
        return replace(self, samples=tuple(samples), notes=tuple(notes))

    def first(self, count: int | None) -> Dataset:
        """Keep the first samples; all where `count` is None."""
        return replace(self, samples=self.samples[:count])


TRUNCATE_SIGMAS = 4.0
"""The Gaussian is cut off at this many sigmas; what lies beyond is 6e-5 of it in each direction."""


def fixation_counts(xy: NDArray[np.floating[Any]], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Count the fixations in each pixel.

    Args:
        xy: (K, 2), x to the right and y down, the first pixel covering 0 to 1. Those that fall outside are
            left out.
        size_hw: height and width of the stimulus that `xy` counts in, in pixels.

    Returns:
        (h, w) whole numbers.
    """
    counts = np.zeros(size_hw, np.float32)
    np.add.at(counts, pixels_of(xy, size_hw), 1.0)
    return counts


def fixation_map(
    xy: NDArray[np.floating[Any]], size_hw: tuple[int, int], sigma_px: float
) -> NDArray[np.float32]:
    """Blur the fixations into a density map.

    The Gaussian is cut off at `TRUNCATE_SIGMAS`; beyond the stimulus' edge there is nothing, so what a
    fixation near it spreads outside is lost (as in SALICON's maps).

    Args:
        xy: (K, 2) fixations, as for `fixation_counts`.
        size_hw: height and width of the stimulus, in pixels.
        sigma_px: the Gaussian's sigma, in pixels; 0 leaves the counts as they are.

    Returns:
        (h, w) fixations per pixel; its sum is about K, and 0 where there are no fixations.
    """
    counts = fixation_counts(xy, size_hw)
    if sigma_px == 0:
        return counts
    side = 2 * int(TRUNCATE_SIGMAS * sigma_px + 0.5) + 1
    blurred = cv2.GaussianBlur(
        counts, (side, side), sigma_px, sigmaY=sigma_px, borderType=cv2.BORDER_CONSTANT
    )
    return np.maximum(blurred, 0, dtype=np.float32)


def sigma_px_of(sigma_degrees: float, pixels_per_degree: float) -> float:
    """Convert a sigma in degrees of visual angle to pixels of the stimulus.

    Args:
        sigma_degrees: 1 by convention, the size of the fovea.
        pixels_per_degree: of the experiment's screen, such as 35 for MIT1003 and 38 for CAT2000.
    """
    return sigma_degrees * pixels_per_degree


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
