"""Image files: which files are images, and reading one whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import InputError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_SMALLEST_SIDE = 8  # pixels; nothing can stand out in less


def is_image(path: Path) -> bool:
    """Tell by its suffix whether a file is an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image, turned as its EXIF says.

    Returns:
        (H, W, 3) BGR, 0 to 255; grey and 16-bit images are converted, transparency is dropped.

    Raises:
        InputError: the file cannot be read, is no image, is cut off, or is too small.
    """
    image_bgr = _read(path, cv2.IMREAD_COLOR)
    check_size((image_bgr.shape[0], image_bgr.shape[1]), str(path))
    return image_bgr


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read an image of any size in grey, such as a map.

    Returns:
        (H, W), 0 to 255.

    Raises:
        InputError: the file cannot be read, is no image, or is cut off.
    """
    return _read(path, cv2.IMREAD_GRAYSCALE)


def check_size(size_hw: tuple[int, int], origin: str) -> None:
    """Refuse a frame that is too small to show anything.

    Raises:
        InputError: a side is below 8 pixels.
    """
    if min(size_hw) < _SMALLEST_SIDE:
        height, width = size_hw
        raise InputError(
            f"{origin} is {width}x{height} pixels; a frame needs {_SMALLEST_SIDE}x{_SMALLEST_SIDE} or more"
        )


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if _is_whole(data) else None
    except cv2.error:  # more pixels than OpenCV takes
        image = None
    if image is None:
        raise InputError(f"{path} is damaged or no image. Replace it, or take it out of the source")
    return image.astype(np.uint8, copy=False)


def _is_whole(data: bytes) -> bool:
    """Look for the end marker: OpenCV fills what a cut-off JPEG lacks with grey, and does not say so."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in data[_start_of_jpeg_scan(data) :]
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data
    return len(data) > 0


def _start_of_jpeg_scan(data: bytes) -> int:
    """Skip a JPEG's leading segments: the thumbnail in one of them has an end marker of its own."""
    position = 2
    while position + 4 <= len(data) and data[position + 1] != 0xDA:
        is_filling = data[position + 1] == 0xFF
        position += 1 if is_filling else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position
