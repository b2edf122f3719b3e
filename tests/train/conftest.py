"""A tiny dataset that can be learnt, and a tiny network to learn it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.train.datasets.sample import Dataset, Sample
from saliency_edge.train.networks import NetworkConfig, config_of

SIZE_HW = (48, 64)


@pytest.fixture(scope="session")
def tiny_config() -> NetworkConfig:
    """The deep convnet at an eighth of its width and a fifth of its size."""
    return replace(config_of("deep_half"), parameters={"width": 0.125}, size_hw=SIZE_HW)


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Dataset]:
    """Make a dataset of grey noise in which people look at one red disc."""

    def make(count: int) -> Dataset:
        folder = tmp_path_factory.mktemp("discs")
        return Dataset(name="discs", samples=[_disc_sample(folder, number) for number in range(count)])

    return make


@pytest.fixture
def as_plain_layout(tmp_path: Path) -> Callable[[Dataset], Path]:
    """Lay a dataset out as `images/` and `maps/`."""

    def lay_out(dataset: Dataset) -> Path:
        folder = tmp_path / "plain"
        for sample in dataset:
            for kind, file in (("images", sample.image), ("maps", sample.map_file)):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, folder / kind / f"{sample.name}.png")
        return folder

    return lay_out


def _disc_sample(folder: Path, number: int) -> Sample:
    rng = np.random.default_rng(number)
    height, width = SIZE_HW
    photograph = np.repeat(rng.integers(60, 190, (height, width, 1), np.uint8), 3, axis=2)
    centre = int(rng.integers(10, width - 10)), int(rng.integers(10, height - 10))
    photograph = cv2.circle(photograph, centre, 6, (0, 0, 255), -1)
    density = np.zeros(SIZE_HW, np.float32)
    density[centre[1], centre[0]] = 1
    density = cv2.GaussianBlur(density, (0, 0), 4)
    image, map_file = folder / f"{number:02}.png", folder / f"{number:02}_map.png"
    cv2.imwrite(str(image), photograph)
    cv2.imwrite(str(map_file), (density / density.max() * 255).astype(np.uint8))
    return Sample(name=f"{number:02}", image=image, map_file=map_file)
