"""Batches by number, and augmentation that moves photograph and map together."""

import numpy as np
import pytest
import torch

from saliency_edge.runtime.errors import UsageError
from saliency_edge.train.batches import (
    AUGMENTATION,
    Augmentation,
    Geometry,
    Source,
    TrainingBatches,
    augment,
    training_loader,
)
from saliency_edge.train.datasets.sample import Dataset

GEOMETRY = Geometry(size_hw=(48, 64), map_size_hw=(48, 64), fit="stretch")


def batches_of(*sources, **kwargs):
    options = {"seed": 1, "steps": 20, **kwargs}
    return TrainingBatches(sources, [GEOMETRY], AUGMENTATION, **options)


def test_a_step_is_the_same_batch_whoever_asks(discs):
    source = Source(dataset=discs(6), per_batch=4)
    first, second = batches_of(source), batches_of(source)
    _ = second[3]  # asked for in another order
    assert torch.equal(first[7].frames, second[7].frames)
    assert torch.equal(first[7].density, second[7].density)
    assert not torch.equal(first[7].frames, batches_of(source, seed=2)[7].frames)


def test_every_sample_comes_once_an_epoch(discs):
    batches = batches_of(Source(dataset=discs(6), per_batch=2))
    for epoch in range(3):
        names = [name for step in range(3) for name in batches[3 * epoch + step].names]
        assert sorted(names) == [f"{number:02}" for number in range(6)]


def test_sources_are_mixed_in_their_proportion(discs):
    real, distilled = discs(3), discs(9)
    batch = batches_of(Source(dataset=real, per_batch=1), Source(dataset=distilled, per_batch=3))[0]
    assert len(batch.names) == 4
    assert batch.frames.shape == (4, 48, 64, 3)
    assert batch.density.shape == (4, 48, 64)
    torch.testing.assert_close(batch.density.amax(dim=(1, 2)), torch.ones(4))


def test_processes_share_a_batch_without_overlap(discs):
    source = Source(dataset=discs(8), per_batch=4)
    whole = batches_of(source)[2]
    parts = [batches_of(source, rank=rank, world_size=2)[2] for rank in range(2)]
    assert torch.equal(whole.frames[0::2], parts[0].frames)
    assert torch.equal(whole.frames[1::2], parts[1].frames)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_starts_where_a_run_stopped(discs, workers):
    batches = batches_of(Source(dataset=discs(6), per_batch=2), steps=5)
    names = [batch.names for batch in training_loader(batches, 3, workers)]
    assert names == [batches[3].names, batches[4].names]


def test_an_empty_dataset_and_an_uneven_batch_are_refused(discs):
    with pytest.raises(UsageError, match="nothing to train on in void"):
        batches_of(Source(dataset=Dataset(name="void", samples=()), per_batch=2))
    with pytest.raises(UsageError, match="batch size 3 is no multiple of 2 processes"):
        batches_of(Source(dataset=discs(4), per_batch=3), world_size=2)


def test_flip_and_crop_move_photograph_and_map_together():
    rng = np.random.default_rng(0)
    how = Augmentation(flip=0.5, crop=0.6, colour=0.0)
    for _ in range(50):
        photograph, density = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.float32)
        y, x = rng.integers(0, 60), rng.integers(0, 80)
        photograph[y, x], density[y, x] = 255, 1
        new_photograph, new_density = augment(photograph, density, how, rng)
        assert new_photograph.shape[:2] == new_density.shape
        assert np.array_equal(new_photograph[..., 0] > 0, new_density > 0)


def test_colour_changes_the_photograph_only():
    photograph = np.full((4, 4, 3), 128, np.uint8)
    density = np.random.default_rng(0).random((4, 4), np.float32)
    how = Augmentation(flip=0.0, crop=1.0, colour=0.3)
    new_photograph, new_density = augment(photograph, density, how, np.random.default_rng(5))
    assert not np.array_equal(photograph, new_photograph)
    assert np.array_equal(density, new_density)
