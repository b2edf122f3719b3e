"""Batches by number: step k is the same batch whoever asks, so a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..runtime.contract import Fit
from ..runtime.errors import UsageError
from ..runtime.fit import fit_frame, size_hw_of
from .datasets.read_sample import fit_density, read_ground_truth, read_photograph
from .datasets.sample import Dataset, Sample

KEPT_PAIRS = 6000  # decoded pairs in memory, about 2 GB of 256 x 256 photographs
DENSITY_WIDTH = 320


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from.

    Attributes:
        frames: (N, H, W, 3) uint8 BGR.
        density: (N, h, w) float32, largest value 1.
        points: (N, h, w) float32, fixations per cell without blur; the density where a sample has no points.
        names: of the samples, for messages.
    """

    frames: torch.Tensor
    density: torch.Tensor
    points: torch.Tensor
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset and how many samples of each batch come from it."""

    dataset: Dataset
    per_batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Sizes of a batch: the network's input, its map, and how photographs are fitted."""

    size_hw: tuple[int, int]
    map_size_hw: tuple[int, int]
    fit: Fit


class TrainingBatches(TorchDataset[Batch]):
    """All batches of a run, by step. Each source goes through its own seeded permutations."""

    def __init__(
        self,
        sources: Sequence[Source],
        geometries: Sequence[Geometry],
        augmentation: Augmentation,
        *,
        seed: int,
        steps: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Describe the batches; nothing is read yet.

        Args:
            sources: what a batch is made of.
            geometries: step k uses geometry k modulo their number (several train at several sizes).
            augmentation: limits of the random changes.
            seed: all chance derives from it, the step and the place in the batch.
            steps: length of the run.
            rank: which part of each batch this process takes.
            world_size: in how many parts batches are cut.

        Raises:
            UsageError: a source is empty, or the batch cannot be cut evenly.
        """
        empty = [source.dataset.name for source in sources if not source.dataset.samples]
        if empty or not sources:
            raise UsageError(f"nothing to train on in {', '.join(empty) or 'the given folders'}")
        self.batch_size = sum(source.per_batch for source in sources)
        if self.batch_size % world_size:
            raise UsageError(f"batch size {self.batch_size} is no multiple of {world_size} processes")
        self._sources, self._geometries, self._augmentation = tuple(sources), tuple(geometries), augmentation
        self._seed, self._steps = seed, steps
        self._places = range(rank, self.batch_size, world_size)
        self._reader = _PairReader()

    def __len__(self) -> int:
        """Count the steps."""
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        """Make the batch of a step."""
        chosen = [self._sample_at(step, place) for place in self._places]
        geometry = self._geometries[step % len(self._geometries)]
        fitted = [
            _fitted(self._reader.read(sample), geometry, self._augmentation, self._rng(step, place))
            for sample, place in zip(chosen, self._places, strict=True)
        ]
        return _stack(fitted, chosen)

    def _rng(self, step: int, place: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, step, place))

    def _sample_at(self, step: int, place: int) -> Sample:
        for number, source in enumerate(self._sources):
            if place < source.per_batch:
                return self._draw(number, source, step * source.per_batch + place)
            place -= source.per_batch
        raise AssertionError("place lies beyond the batch")

    def _draw(self, number: int, source: Source, index: int) -> Sample:
        samples = source.dataset.samples
        epoch, position = divmod(index, len(samples))
        return samples[int(_order(self._seed, number, epoch, len(samples))[position])]


@lru_cache(maxsize=8)
def _order(seed: int, source: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, source, epoch)).permutation(count)


def training_loader(batches: TrainingBatches, start: int, workers: int) -> Iterator[Batch]:
    """Go through the batches from step `start` on, read ahead by `workers` processes (0: none)."""
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, len(batches)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)


def evaluation_batches(dataset: Dataset, geometry: Geometry, batch_size: int) -> Iterator[Batch]:
    """Go once through a dataset in order, unchanged."""
    rng = np.random.default_rng(0)
    reader = _PairReader(keep=0)
    for start in range(0, len(dataset), batch_size):
        samples = dataset.samples[start : start + batch_size]
        fitted = [_fitted(reader.read(sample), geometry, NO_AUGMENTATION, rng) for sample in samples]
        yield _stack(fitted, samples)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A decoded sample: photograph (H', W', 3) uint8, ground truth (h', w', 2) float16, aspect as shown."""

    photograph: NDArray[np.uint8]
    truth: NDArray[np.float16]
    shown_hw: tuple[int, int]


class _PairReader:
    """Decodes samples, and keeps the first ones: a small dataset is decoded once, a large one streams."""

    def __init__(self, keep: int = KEPT_PAIRS) -> None:
        self._kept: dict[tuple[Path, Path | None], _Pair] = {}
        self._keep = keep

    def read(self, sample: Sample) -> _Pair:
        key = sample.image, sample.map_file  # people's map and a teacher's of one photograph are two pairs
        if key in self._kept:
            return self._kept[key]
        photograph = read_photograph(sample)
        photograph_hw = size_hw_of(photograph)
        truth = _compact(read_ground_truth(sample, photograph_hw))
        pair = _Pair(photograph, truth.astype(np.float16), sample.size_hw or photograph_hw)
        if len(self._kept) < self._keep:
            self._kept[key] = pair
        return pair


def _compact(truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduce ground truth (h', w', 2) to the width of the largest map that any network here computes."""
    height, width = truth.shape[:2]
    if width <= DENSITY_WIDTH:
        return truth
    size_wh = (DENSITY_WIDTH, round(height * DENSITY_WIDTH / width))
    return cv2.resize(truth, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)


def _fitted(
    pair: _Pair, geometry: Geometry, how: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    photograph, truth = augment(pair.photograph, pair.truth.astype(np.float32), how, rng)
    frame = fit_frame(photograph, geometry.size_hw, geometry.fit, pair.shown_hw)
    fitted = fit_density(truth, pair.shown_hw, geometry.map_size_hw, geometry.fit)
    return frame, fitted / np.maximum(fitted.max(axis=(0, 1)), 1e-6)


def _stack(
    fitted: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]], samples: Sequence[Sample]
) -> Batch:
    frames, truths = zip(*fitted, strict=True)
    density, points = torch.from_numpy(np.stack(truths)).permute(3, 0, 1, 2).contiguous()
    return Batch(
        torch.from_numpy(np.stack(frames)), density, points, tuple(sample.name for sample in samples)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much a photograph may change.

    Attributes:
        flip: probability of mirroring left and right.
        crop: smallest share of height and width that a crop keeps; 1 crops nothing.
        colour: largest relative change of brightness, contrast and each channel; 0 changes nothing.
    """

    flip: float = 0.5
    crop: float = 0.85
    colour: float = 0.2


AUGMENTATION = Augmentation()
NO_AUGMENTATION = Augmentation(flip=0.0, crop=1.0, colour=0.0)


def augment(
    photograph: NDArray[np.uint8],
    density: NDArray[np.float32],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Change a pair at random.

    Args:
        photograph: (H, W, 3) BGR, 0 to 255.
        density: (h, w) or (h, w, K) of the same view, of any size.
        how: the limits.
        rng: where chance comes from; the same state gives the same pair.

    Returns:
        The changed pair; sizes may shrink by the crop, aspects stay.
    """
    keep = rng.uniform(how.crop, 1.0)
    at = rng.uniform(0.0, 1.0, size=2)
    photograph, density = _crop(photograph, keep, at), _crop(density, keep, at)
    if rng.random() < how.flip:
        photograph, density = (
            np.ascontiguousarray(photograph[:, ::-1]),
            np.ascontiguousarray(density[:, ::-1]),
        )
    return _shift_colours(photograph, how.colour, rng), density


def _crop(image: NDArray, keep: float, at: NDArray[np.float64]) -> NDArray:  # type: ignore[type-arg]
    """Keep a window of `keep` times the sides, its place given by `at` as fractions of the free room."""
    height, width = (max(1, round(side * keep)) for side in image.shape[:2])
    top, left = (
        round((full - side) * a) for full, side, a in zip(image.shape, (height, width), at, strict=False)
    )
    return image[top : top + height, left : left + width]


def _shift_colours(
    photograph: NDArray[np.uint8], limit: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    if limit == 0:
        return photograph
    gain = rng.uniform(1 - limit, 1 + limit) * rng.uniform(1 - limit / 2, 1 + limit / 2, size=3)
    offset = rng.uniform(-limit, limit) * 64
    table = np.arange(256)[:, None] * gain[None, :] + offset  # (256, 3)
    lookup = np.clip(table, 0, 255).astype(np.uint8)[None]
    return cv2.LUT(photograph, lookup).astype(np.uint8, copy=False)
