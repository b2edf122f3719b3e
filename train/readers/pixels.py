"""Photographs and maps from files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Read a photograph, turned as its EXIF tag says.

    Returns:
        (H, W, 3) BGR, 0 to 255.

    Raises:
        InputError: the file is missing or is not an image.
    """
    return _read(path, cv2.IMREAD_COLOR)


def read_map(path: Path) -> NDArray[np.float32]:
    """Read a grey map.

    Returns:
        (h, w), 0 to 1.

    Raises:
        InputError: the file is missing or is not an image.
    """
    return np.divide(_read(path, cv2.IMREAD_GRAYSCALE), 255, dtype=np.float32)


def images_in(folder: Path) -> dict[str, Path]:
    """List the images below a folder, sorted by name.

    Returns:
        Files by their relative path without suffix, with forward slashes.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise InputError(f"cannot read {path} as an image. Mend the file or leave it out")
    return np.asarray(image, np.uint8)
