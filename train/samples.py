"""What a dataset holds: one photograph and what people looked at in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError


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
