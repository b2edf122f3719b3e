"""Pixels of a sample: the photograph, and the fixation density that goes with it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.arrays import read_array
from ...runtime.contract import Fit
from ...runtime.errors import ArtifactError, InputError
from ...runtime.fit import window_of
from .pairing import read_map, read_photo
from .sample import Sample, fixation_counts, fixation_map

# Sigma of the Gaussian for raw fixations, as a share of the photograph's longer side: less than a degree.
SIGMA_OF_SIDE = 14 / 640


def read_photograph(sample: Sample) -> NDArray[np.uint8]:
    """Read a sample's photograph as it is in the file.

    Returns:
        (H', W', 3) BGR. Where its aspect is not that of `sample.size_hw`, it is shown stretched to that.

    Raises:
        InputError: the file cannot be read.
    """
    return read_photo(sample.image)


def read_ground_truth(sample: Sample, photograph_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Read a sample's fixation density, and its fixations without blur.

    Returns:
        (h', w', 2), each with a largest value of 1; both are the map where a sample has one. Where it has a
        teacher's map too, the density is the mean of the people's and the teacher's, as distributions: some
        people looked, once, and the teacher knows something of what others would have looked at.

    Raises:
        InputError: as for `read_density`.
    """
    density = read_density(sample, photograph_hw)
    points = density
    if sample.teacher_file is not None:
        density = _blended(density, _read_map(sample.teacher_file))
    if sample.fixations is not None and sample.map_file is None:
        counts = fixation_counts(sample.fixations.xy, sample.size_hw or photograph_hw)
        points = counts / max(float(counts.max()), 1.0)
    return np.stack([density, points], axis=2).astype(np.float32, copy=False)


def read_density(sample: Sample, photograph_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Read a sample's fixation density, or blur its fixations to one.

    Returns:
        (h', w') at the size that it has, largest value 1.

    Raises:
        InputError: the sample has neither a readable map nor fixations, or its map is empty.
    """
    if sample.map_file is not None:
        density = _read_map(sample.map_file)
    elif sample.fixations is not None:
        size_hw = sample.size_hw or photograph_hw
        density = fixation_map(sample.fixations.xy, size_hw, sigma_px=SIGMA_OF_SIDE * max(size_hw))
    else:
        raise InputError(f"{sample.image} has neither a fixation map nor fixations")
    peak = float(density.max())
    if not peak > 0:
        raise InputError(f"{sample.image}: its fixation map is empty. Remove the pair")
    return (density / peak).astype(np.float32)


def fit_density(
    density: NDArray[np.float32], shown_hw: tuple[int, int], map_size_hw: tuple[int, int], fit: Fit
) -> NDArray[np.float32]:
    """Bring a density to the network's map, as its photograph is brought to the network's input.

    Args:
        density: (h', w') or, for several maps at once, (h', w', K).
        shown_hw: height and width that the photograph is shown at.
        map_size_hw: height and width of the network's map.
        fit: as in the contract.

    Returns:
        (h, w) or (h, w, K), zero outside the photograph where `fit` is `pad`.
    """
    window = window_of(shown_hw, map_size_hw, fit)
    height, width = map_size_hw
    top, left = round(window.top * height), round(window.left * width)
    bottom, right = round(window.bottom * height), round(window.right * width)
    fitted = np.zeros((*map_size_hw, *density.shape[2:]), np.float32)
    inner_wh = (right - left, bottom - top)
    fitted[top:bottom, left:right] = cv2.resize(density, inner_wh, interpolation=cv2.INTER_AREA)
    return fitted


def _blended(people: NDArray[np.float32], teacher: NDArray[np.float32]) -> NDArray[np.float32]:
    wide = cv2.resize(teacher, people.shape[::-1], interpolation=cv2.INTER_LINEAR)
    mean = people / people.sum() + wide / wide.sum()
    return np.asarray(mean / mean.max(), np.float32)


def _read_map(path: Path) -> NDArray[np.float32]:
    if path.suffix == ".npy":  # a teacher's map, from `distill.py`
        remedy = "Remove it: the teacher's map is computed again"
        density = read_array(path, remedy=remedy)
        if density.ndim != 2 or density.dtype.kind != "f" or not np.isfinite(density).all():
            raise ArtifactError(f"{path} is no map of a teacher. {remedy}")
        return density.astype(np.float32)
    return read_map(path)
