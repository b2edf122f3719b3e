"""CAT2000, its training set.

    trainSet/
      Stimuli/Action/001.jpg             (`Output` folders below are left out)
      FIXATIONMAPS/Action/001.jpg
      FIXATIONLOCS/Action/001.mat        `fixLocs`, 1 where anybody looked (may be missing)

The locations do not tell who looked, so there is no inter-observer figure. A split is a category.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from ...runtime.errors import InputError
from ..samples import Fixations
from .located import fixations_at
from .matlab import load_variable
from .pairing import Found
from .pixels import below, images_in

Item = TypeVar("Item")


def is_cat2000(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return (root / "Stimuli").is_dir() and (root / "FIXATIONMAPS").is_dir()


def find_cat2000(root: Path, split: str | None) -> Found:
    """List what lies in the folder.

    Args:
        root: the dataset's folder.
        split: a category, such as `Action`; all where it is None.

    Raises:
        InputError: a file of locations cannot be understood.
        BackendError: there are such files and no scipy.
    """
    photos = below(_without_output(images_in(root / "Stimuli")), split)
    maps = below(_without_output(images_in(root / "FIXATIONMAPS")), split)
    folder = root / "FIXATIONLOCS"
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.mat")}
    located = {name: _locations(path) for name, path in below(files, split).items()}
    return Found(
        photos=photos,
        maps=maps,
        fixations={name: fixations for name, (fixations, _) in located.items()},
        sizes_hw={name: size_hw for name, (_, size_hw) in located.items()},
    )


def _locations(path: Path) -> tuple[Fixations, tuple[int, int]]:
    values = np.asarray(load_variable(path, "fixLocs"))
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise InputError(f"{path}: fixLocs is {values.dtype} {values.shape}, expected a map of the stimulus")
    return fixations_at(values > 0)


def _without_output(items: dict[str, Item]) -> dict[str, Item]:
    return {name: item for name, item in items.items() if "Output" not in PurePosixPath(name).parts}
