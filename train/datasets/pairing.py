"""From what a layout found to a checked dataset: sizes, pairs, and notes on what does not fit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.images import is_image, read_grey, read_image
from .sample import Fixations, Sample

ASPECT_TOLERANCE = 0.02
"""Relative difference of width over height from which a photograph counts as of another aspect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in a dataset's folder, by name, before anything is opened.

    Attributes:
        photos: the photographs.
        maps: their density maps.
        fixations: their raw fixations.
        sizes_hw: size of the stimuli that the fixations count in, where the layout tells; else the photo's.
    """

    photos: Mapping[str, Path]
    maps: Mapping[str, Path] = field(default_factory=dict)
    fixations: Mapping[str, Fixations] = field(default_factory=dict)
    sizes_hw: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One sample, or why there is none; `squashed` where the photograph is of another aspect."""

    sample: Sample | None
    note: str | None = None
    squashed: bool = False


def checked_samples(found: Found) -> list[Checked]:
    """Pair by name, open every file once, and tell what fits, in order of the names."""
    names = sorted({*found.photos, *found.maps, *found.fixations})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda name: _checked(name, found), names))


def _checked(name: str, found: Found) -> Checked:
    if name not in found.photos:
        return Checked(sample=None, note=f"{name}: no photograph for its ground truth")
    if name not in found.maps and name not in found.fixations:
        return Checked(sample=None, note=f"{name}: no map and no fixations")
    try:
        return _opened(name, found)
    except InputError as error:
        return Checked(sample=None, note=f"{name}: {error}")


def _opened(name: str, found: Found) -> Checked:
    """Read the photograph and the map once, for their sizes and to see that they are whole."""
    photo_hw = _size_hw(read_photo(found.photos[name]))
    truth_hw = photo_hw
    map_file = found.maps.get(name)
    if map_file is not None:
        values = read_map(map_file)
        truth_hw = _size_hw(values)
        if not values.any():
            return Checked(sample=None, note=f"{name}: the map is empty")
    fixations = found.fixations.get(name)
    if fixations is not None:
        truth_hw = found.sizes_hw.get(name, photo_hw)
        fixations = _within(fixations, truth_hw)
        if not len(fixations.xy):
            return Checked(sample=None, note=f"{name}: no fixations within the stimulus")
    sample = Sample(
        name=name, image=found.photos[name], map_file=map_file, fixations=fixations, size_hw=truth_hw
    )
    if not _other_aspect(photo_hw, truth_hw):
        return Checked(sample=sample)
    note = f"{name}: the photograph is {_text(photo_hw)}, its ground truth {_text(truth_hw)}: another aspect"
    return Checked(sample=sample, note=f"{note}, stretched", squashed=True)


def _within(fixations: Fixations, size_hw: tuple[int, int]) -> Fixations:
    x, y = fixations.xy.T
    inside = (x >= 0) & (x < size_hw[1]) & (y >= 0) & (y < size_hw[0])
    return replace(fixations, xy=fixations.xy[inside], subject=fixations.subject[inside])


def _size_hw(image: NDArray[np.uint8] | NDArray[np.float32]) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _other_aspect(first_hw: tuple[int, ...], second_hw: tuple[int, ...]) -> bool:
    ratio = (first_hw[1] / first_hw[0]) / (second_hw[1] / second_hw[0])
    return not 1 - ASPECT_TOLERANCE <= ratio <= 1 + ASPECT_TOLERANCE


def _text(size_hw: tuple[int, ...]) -> str:
    return f"{size_hw[1]}x{size_hw[0]}"


def notes_of(checked: list[Checked], *, stretch: bool) -> Iterator[str]:
    """Give the notes that stand; those on another aspect only where it was not meant so."""
    return (one.note for one in checked if one.note and not (stretch and one.squashed))


Item = TypeVar("Item")


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Read a photograph, turned as its EXIF tag says.

    Returns:
        (H, W, 3) BGR, 0 to 255.

    Raises:
        InputError: the file is missing, is not an image, is cut off or is too small.
    """
    return read_image(path)


def read_map(path: Path) -> NDArray[np.float32]:
    """Read a grey map.

    Returns:
        (h, w), 0 to 1.

    Raises:
        InputError: the file is missing, is not an image or is cut off.
    """
    return np.divide(read_grey(path), 255, dtype=np.float32)


def images_in(folder: Path) -> dict[str, Path]:
    """List the images below a folder, sorted by name; none where there is no folder.

    Returns:
        Files by their relative path without suffix, with forward slashes.

    Raises:
        InputError: two images differ only by suffix.
    """
    images: dict[str, Path] = {}
    for path in sorted(filter(is_image, folder.rglob("*"))):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in images:
            raise InputError(f"{images[name]} and {path.name} have one name. Rename or remove one of them")
        images[name] = path
    return images


def below(items: dict[str, Item], split: str | None) -> dict[str, Item]:
    """Keep what lies in the folder `split`, and name it from there; all where it is None."""
    prefix = f"{split}/" if split else ""
    return {name[len(prefix) :]: item for name, item in items.items() if name.startswith(prefix)}
