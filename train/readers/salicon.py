"""SALICON, in either of its forms.

    salicon/                                  salicon/
      images/train/COCO_....jpg                 images/train/COCO_....jpg
      maps/train/COCO_....png  (may be missing) maps/train/COCO_....png  (may be missing)
      fixations/train/COCO_....mat              annotations/fixations_train2014.json

The photographs and the JSON file may also lie in the folder itself. Fixations count from 1: in the JSON file
they are (row, column), as SALICON's own API reads them; in the .mat files (x, y).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, reason_of
from ...runtime.records import Side, read_foreign
from ..samples import Fixations
from .located import join_subjects
from .matlab import load_variable
from .pairing import Found
from .pixels import below, images_in

STIMULUS_HW = (480, 640)

Item = TypeVar("Item")


def is_salicon(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return bool(_json_files(root, None)) or next((root / "fixations").rglob("*.mat"), None) is not None


def find_salicon(root: Path, split: str | None) -> Found:
    """List what lies in the folder.

    Args:
        root: the dataset's folder.
        split: `train` or `val`; both where it is None.

    Raises:
        InputError: a file cannot be understood.
        BackendError: there are .mat files and no scipy.
    """
    images = root / "images"
    photos = below(images_in(images), split) if images.is_dir() else images_in(root)
    maps = below(images_in(root / "maps"), split)
    fixations = _from_mat(root / "fixations", split)
    sizes_hw = dict.fromkeys(fixations, STIMULUS_HW)
    for path in _json_files(root, split):
        annotations = _Annotations(path)
        fixations |= _by_photo(annotations.fixations(), photos)
        sizes_hw |= _by_photo(annotations.sizes_hw(), photos)
    return Found(photos=photos, maps=maps, fixations=fixations, sizes_hw=sizes_hw)


def _json_files(root: Path, split: str | None) -> list[Path]:
    pattern = f"fixations_{split or ''}*.json"
    return sorted([*root.glob(pattern), *(root / "annotations").glob(pattern)])


def _from_mat(folder: Path, split: str | None) -> dict[str, Fixations]:
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.mat")}
    return {name: _gaze(path) for name, path in below(files, split).items()}


def _gaze(path: Path) -> Fixations:
    subjects = np.atleast_1d(load_variable(path, "gaze"))
    try:
        points = [np.asarray(subject.fixations, np.float64).reshape(-1, 2) - 1 for subject in subjects]
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the variable 'gaze' is not SALICON's ({reason_of(error)})") from error
    return join_subjects(points)


class _Image(TypedDict):
    """A photograph, of which the size is that of the stimulus."""

    id: int
    file_name: str
    height: Side
    width: Side


class _Annotation(TypedDict):
    """One subject's fixations of a photograph, (row, column) from 1."""

    image_id: int
    fixations: list[tuple[float, float]]


class _File(TypedDict):
    """What is read of the file."""

    images: list[_Image]
    annotations: list[_Annotation]


class _Annotations:
    """SALICON's JSON file, parsed: pictures and fixations are tied by an identity number."""

    def __init__(self, path: Path) -> None:
        values = read_foreign(path, _File, what="SALICON's JSON", error=InputError)
        self._images = {image["id"]: image for image in values["images"]}
        self._points: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
        for annotation in values["annotations"]:
            self._points[annotation["image_id"]].append(_xy(annotation["fixations"]))

    def fixations(self) -> dict[str, Fixations]:
        """Fixations by the photograph's file name without suffix; each annotation is one subject."""
        return {_stem(image): join_subjects(self._points[number]) for number, image in self._images.items()}

    def sizes_hw(self) -> dict[str, tuple[int, int]]:
        """Sizes of the stimuli by the photograph's file name without suffix."""
        return {_stem(image): (image["height"], image["width"]) for image in self._images.values()}


def _by_photo(by_stem: dict[str, Item], photos: dict[str, Path]) -> dict[str, Item]:
    """Name what goes by a file's own name as its photograph, whose name may hold a folder."""
    names = {PurePosixPath(name).name: name for name in photos}
    return {names.get(stem, stem): item for stem, item in by_stem.items()}


def _stem(image: _Image) -> str:
    return PurePosixPath(image["file_name"]).stem


def _xy(rows_columns: list[tuple[float, float]]) -> NDArray[np.float64]:
    return np.asarray(rows_columns, np.float64).reshape(-1, 2)[:, ::-1] - 1
