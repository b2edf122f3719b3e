"""OSIE, and what is stored like it: one .mat file for all photographs.

    osie/
      stimuli/1001.jpg
      eye/fixations.mat        (or fixations.mat beside `stimuli`)

`fixations` is a cell for each photograph with its file name `img` and a cell `subjects`, each with `fix_x`
and `fix_y` in pixels. There are no splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, UsageError, reason_of
from ..samples import Fixations
from .located import join_subjects
from .matlab import load_variable
from .pairing import Found
from .pixels import images_in

FILES = ("eye/fixations.mat", "fixations.mat")


def is_osie(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return _file(root) is not None and (root / "stimuli").is_dir()


def find_osie(root: Path, split: str | None) -> Found:
    """List what lies in the folder.

    Raises:
        InputError: the .mat file is missing or cannot be understood.
        BackendError: scipy is not installed.
        UsageError: a split is asked for.
    """
    if split is not None:
        raise UsageError(
            f"OSIE has no splits, found {split!r}. Leave it out, and choose images by their names"
        )
    path = _file(root)
    if path is None:
        raise InputError(f"{root} has no {' or '.join(FILES)}. Check the path and the layout")
    cells = np.atleast_1d(load_variable(path, "fixations"))
    try:
        fixations = dict(_fixations(cell) for cell in cells)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the variable 'fixations' is not OSIE's ({reason_of(error)})") from error
    return Found(photos=images_in(root / "stimuli"), fixations=fixations)


def _file(root: Path) -> Path | None:
    return next((root / name for name in FILES if (root / name).is_file()), None)


def _fixations(cell: Any) -> tuple[str, Fixations]:
    """Read one photograph's name, without suffix, and its fixations."""
    name = PurePosixPath(str(cell.img)).with_suffix("").as_posix()
    return name, join_subjects(list(_points(np.atleast_1d(cell.subjects))))


def _points(subjects: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    for subject in subjects:
        yield np.stack([np.atleast_1d(subject.fix_x), np.atleast_1d(subject.fix_y)], axis=1).astype(
            np.float64
        )
