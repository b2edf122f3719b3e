"""What the recipes learn from: nothing that is kept apart for validation or tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.train.datasets.read_sample import read_density, read_ground_truth
from saliency_edge.train.datasets.sample import Fixations, Sample
from saliency_edge.train.losses import parse_loss
from saliency_edge.train.recipes import RECIPES, SOURCES, validation_sets


def test_no_source_holds_what_is_kept_apart(shared_data: Path) -> None:
    learned = {sample.image for read in SOURCES.values() for sample in read(shared_data)}
    kept_apart = {sample.image for dataset in validation_sets(shared_data) for sample in dataset}

    assert {name: len(read(shared_data)) for name, read in SOURCES.items()} == {
        "mit1003": 812,
        "crowd": 360,
        "scene500": 400,
        "salicon": 589,
        "fixmaps3005": 3005,
    }
    assert not learned & kept_apart
    for name in ("mit1003", "crowd"):
        tenth = sorted((shared_data / name / "images").iterdir())[::10]
        assert not learned & set(tenth)
    tests = {shared_data / f"scene500/images/{number:03}.jpg" for number in range(5, 501, 5)}
    assert all(path.exists() for path in tests)
    assert not learned & tests


def test_every_recipe_names_sources_that_there_are() -> None:
    for name, recipe in RECIPES.items():
        assert set(recipe.per_batch) <= {*SOURCES, "distilled"}, name
        parse_loss(recipe.loss)


@pytest.fixture
def watched(tmp_path: Path) -> Sample:
    """A photograph at which two people look in two places, and a teacher who expects a third."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((60, 80, 3), 90, np.uint8))
    teacher = np.zeros((60, 80), np.float16)
    teacher[10, 70] = 1
    np.save(tmp_path / "teacher.npy", teacher)
    fixations = Fixations(
        xy=np.array([[20.5, 30.5], [60.5, 40.5], [60.5, 40.5]]), subject=np.array([0, 1, 1])
    )
    return Sample(name="photo", image=tmp_path / "photo.png", fixations=fixations, size_hw=(60, 80))


def test_points_stay_points_and_the_density_is_blurred(watched: Sample) -> None:
    truth = read_ground_truth(watched, (60, 80))

    assert truth.shape == (60, 80, 2)
    np.testing.assert_array_equal(truth[..., 0], read_density(watched, (60, 80)))
    assert (truth[30, 20, 1], truth[40, 60, 1]) == (0.5, 1.0)
    assert np.count_nonzero(truth[..., 1]) == 2


def test_a_teachers_map_takes_half_of_the_density(watched: Sample, tmp_path: Path) -> None:
    from dataclasses import replace

    blended = read_ground_truth(replace(watched, teacher_file=tmp_path / "teacher.npy"), (60, 80))

    density = blended[..., 0] / blended[..., 0].sum()
    assert density[10, 70] == pytest.approx(0.5, abs=1e-4)
    np.testing.assert_array_equal(blended[..., 1], read_ground_truth(watched, (60, 80))[..., 1])
