"""Photographs and maps from files, read as the runtime reads its frames: whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.images import is_image, read_grey, read_image

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
