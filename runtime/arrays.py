"""Arrays in `.npy` and `.npz` files that somebody else may have written: plain numbers, never a pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArtifactError, reason_of

MAX_ARRAY_BYTES = 4 << 30
"""Largest content of an `.npz` that is read, unpacked."""


def read_arrays(path: Path, *, remedy: str) -> dict[str, NDArray[Any]]:
    """Read all arrays of an `.npz` file.

    Args:
        path: of the file.
        remedy: what the user can do where it cannot be read.

    Raises:
        ArtifactError: it is missing, damaged, too large, or holds anything but plain arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = sum(entry.file_size for entry in archive.infolist())
        if size_bytes > MAX_ARRAY_BYTES:
            raise ValueError(
                f"it unpacks to {size_bytes >> 30} GiB, at most {MAX_ARRAY_BYTES >> 30} are read"
            )
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # zipfile, zlib, struct and numpy each raise their own, MemoryError among them
        raise ArtifactError(f"{path} cannot be read as .npz ({reason_of(error)}). {remedy}") from error


def read_array(path: Path, *, remedy: str) -> NDArray[Any]:
    """Read an `.npy` file.

    Args:
        path: of the file.
        remedy: what the user can do where it cannot be read.

    Raises:
        ArtifactError: it is missing, damaged, or holds no plain array.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False, mmap_mode="r"))
    except Exception as error:
        raise ArtifactError(f"{path} cannot be read as .npy ({reason_of(error)}). {remedy}") from error
