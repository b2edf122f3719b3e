"""Files of tiny datasets, for tests that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.train.datasets.sample import Dataset, Fixations, Sample

PHOTO_HW = (30, 40)


def save_photo(path: Path, size_hw: tuple[int, int] = PHOTO_HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(len(path.name)).integers(0, 256, (*size_hw, 3), np.uint8)
    assert cv2.imwrite(str(path), picture)


def save_map(path: Path, size_hw: tuple[int, int] = PHOTO_HW, peak: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size_hw, np.uint8)
    values[size_hw[0] // 2, size_hw[1] // 2] = peak
    assert cv2.imwrite(str(path), values)


def save_mat(path: Path, values: dict[str, Any]) -> None:
    scipy_io = pytest.importorskip("scipy.io", reason="needs pip install 'saliency-edge[matlab]'")
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy_io.savemat(path, values)


def cells(items: list[Any]) -> NDArray[np.object_]:
    """Matlab's cell column."""
    cells = np.empty((len(items), 1), object)
    cells[:, 0] = items
    return cells


def names_of(dataset: Dataset) -> list[str]:
    return [sample.name for sample in dataset]


def fixations_of(sample: Sample) -> Fixations:
    assert sample.fixations is not None
    return sample.fixations
