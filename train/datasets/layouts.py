"""The layouts that fixation datasets come in: how each is recognised, and what lies in its folder.

A new layout is two functions here, `is_x(root)` and `find_x(root, split)`, and a line in `LAYOUTS` of
`read_dataset.py`.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import BackendError, InputError, UsageError, reason_of
from ...runtime.records import Side, read_foreign
from .pairing import Found, below, images_in, read_map
from .sample import Fixations, fixations_at, join_subjects

TABLE = "fixations.csv"
COLUMNS = ("image", "subject", "x", "y")
STIMULUS_HW = (480, 640)
MAP_ENDING, POINTS_ENDING = "_fixMap", "_fixPts"
OSIE_FILES = ("eye/fixations.mat", "fixations.mat")

Item = TypeVar("Item")


def is_plain(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return (root / TABLE).is_file() or ((root / "images").is_dir() and (root / "maps").is_dir())


def find_plain(root: Path, split: str | None) -> Found:
    """List the plain layout: images, and fixations.csv or maps of the same names.

        photos/                            photos/
          images/001.jpg                     images/val/001.jpg
          fixations.csv                      maps/val/001.jpg

    Without `images`, the photographs lie beside the table. The table has a header and the columns
    `image,subject,x,y`, `image` being the path below `images`; more columns, such as `start_ms,duration_ms`,
    may follow. x and y are in pixels of the photograph.

    Args:
        root: the dataset's folder.
        split: a folder below `images` and `maps`, such as `val`; all where it is None.

    Raises:
        InputError: the table cannot be understood.
    """
    images = root / "images"
    photos = below(images_in(images if images.is_dir() else root), split)
    maps = below(images_in(root / "maps"), split)
    table = root / TABLE
    fixations = below(read_table(table), split) if table.is_file() else {}
    return Found(photos=photos, maps=maps, fixations=fixations)


def read_table(path: Path) -> dict[str, Fixations]:
    """Read a table of fixations.

    Returns:
        Fixations by the image's relative path without suffix.

    Raises:
        InputError: a column is missing, or a row is not numbers.
    """
    rows: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                found = ",".join(reader.fieldnames or ())[:80]
                raise InputError(f"{path}: columns are {found!r}, expected {','.join(COLUMNS)}")
            for row in reader:
                try:
                    name = PurePosixPath(row["image"]).with_suffix("").as_posix()
                    rows[name].append((float(row["x"]), float(row["y"]), row["subject"] or ""))
                except (TypeError, ValueError) as error:
                    reason = f"{reason_of(error)}. Each row is an image's name, a subject, x and y"
                    raise InputError(f"{path}, line {reader.line_num}: {reason}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot read {path} as a table: {reason_of(error)}. Save it as CSV in UTF-8"
        ) from error
    return {name: _number_subjects(points) for name, points in rows.items()}


def _number_subjects(points: list[tuple[float, float, str]]) -> Fixations:
    """Number the subjects in the order of their names."""
    _, subject = np.unique([label for _, _, label in points], return_inverse=True)
    xy = np.array([(x, y) for x, y, _ in points], np.float64)
    return Fixations(xy=xy, subject=subject.astype(np.int64))


def is_salicon(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return bool(_json_files(root, None)) or next((root / "fixations").rglob("*.mat"), None) is not None


def find_salicon(root: Path, split: str | None) -> Found:
    """List SALICON, in either of its forms.

        salicon/                                  salicon/
          images/train/COCO_....jpg                 images/train/COCO_....jpg
          maps/train/COCO_....png  (optional)       maps/train/COCO_....png  (optional)
          fixations/train/COCO_....mat              annotations/fixations_train2014.json

    The photographs and the JSON file may also lie in the folder itself. Fixations count from 1: in the JSON
    file they are (row, column), as SALICON's own API reads them; in the .mat files (x, y).

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
    subjects = np.atleast_1d(_load_variable(path, "gaze"))
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


def is_mit1003(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return (root / "ALLSTIMULI").is_dir() and (root / "ALLFIXATIONMAPS").is_dir()


def find_mit1003(root: Path, split: str | None) -> Found:
    """List MIT1003, as Judd et al. publish it.

        mit1003/
          ALLSTIMULI/i05june05_....jpeg
          ALLFIXATIONMAPS/i05june05_..._fixMap.jpg     density map
          ALLFIXATIONMAPS/i05june05_..._fixPts.jpg     white where anybody looked (optional)

    The points do not tell who looked, so there is no inter-observer figure. The folder DATA, published beside
    these, is not read: see docs/adr/049.

    Raises:
        InputError: a file of points cannot be read.
        UsageError: a split is asked for.
    """
    if split is not None:
        raise UsageError(
            f"MIT1003 has no splits, found {split!r}. Leave it out, and choose images by their names"
        )
    files = images_in(root / "ALLFIXATIONMAPS")
    located = {name: _white_points(path) for name, path in _ending(files, POINTS_ENDING).items()}
    return Found(
        photos=images_in(root / "ALLSTIMULI"),
        maps=_ending(files, MAP_ENDING),
        fixations={name: fixations for name, (fixations, _) in located.items()},
        sizes_hw={name: size_hw for name, (_, size_hw) in located.items()},
    )


def _ending(files: dict[str, Path], ending: str) -> dict[str, Path]:
    return {name.removesuffix(ending): path for name, path in files.items() if name.endswith(ending)}


def _white_points(path: Path) -> tuple[Fixations, tuple[int, int]]:
    """Read the points; JPEG leaves grey around each white pixel, so half of white parts the two."""
    return fixations_at(read_map(path) > 0.5)


def is_cat2000(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return (root / "Stimuli").is_dir() and (root / "FIXATIONMAPS").is_dir()


def find_cat2000(root: Path, split: str | None) -> Found:
    """List CAT2000's training set.

        trainSet/
          Stimuli/Action/001.jpg             (`Output` folders below are left out)
          FIXATIONMAPS/Action/001.jpg
          FIXATIONLOCS/Action/001.mat        `fixLocs`, 1 where anybody looked (optional)

    The locations do not tell who looked, so there is no inter-observer figure.

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
    values = np.asarray(_load_variable(path, "fixLocs"))
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise InputError(f"{path}: fixLocs is {values.dtype} {values.shape}, expected a map of the stimulus")
    return fixations_at(values > 0)


def _without_output(items: dict[str, Item]) -> dict[str, Item]:
    return {name: item for name, item in items.items() if "Output" not in PurePosixPath(name).parts}


def is_osie(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return _osie_file(root) is not None and (root / "stimuli").is_dir()


def find_osie(root: Path, split: str | None) -> Found:
    """List OSIE, and what is stored like it: one .mat file for all photographs.

        osie/
          stimuli/1001.jpg
          eye/fixations.mat        (or fixations.mat beside `stimuli`)

    `fixations` is a cell for each photograph with its file name `img` and a cell `subjects`, each with
    `fix_x` and `fix_y` in pixels.

    Raises:
        InputError: the .mat file is missing or cannot be understood.
        BackendError: scipy is not installed.
        UsageError: a split is asked for.
    """
    if split is not None:
        raise UsageError(
            f"OSIE has no splits, found {split!r}. Leave it out, and choose images by their names"
        )
    path = _osie_file(root)
    if path is None:
        raise InputError(f"{root} has no {' or '.join(OSIE_FILES)}. Check the path and the layout")
    cells = np.atleast_1d(_load_variable(path, "fixations"))
    try:
        fixations = dict(_fixations_of_image(cell) for cell in cells)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the variable 'fixations' is not OSIE's ({reason_of(error)})") from error
    return Found(photos=images_in(root / "stimuli"), fixations=fixations)


def _osie_file(root: Path) -> Path | None:
    return next((root / name for name in OSIE_FILES if (root / name).is_file()), None)


def _fixations_of_image(cell: Any) -> tuple[str, Fixations]:
    """Read one photograph's name, without suffix, and its fixations."""
    name = PurePosixPath(str(cell.img)).with_suffix("").as_posix()
    return name, join_subjects(list(_points_by_subject(np.atleast_1d(cell.subjects))))


def _points_by_subject(subjects: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    for subject in subjects:
        yield np.stack([np.atleast_1d(subject.fix_x), np.atleast_1d(subject.fix_y)], axis=1).astype(
            np.float64
        )


def _load_variable(path: Path, name: str) -> Any:
    """Read one variable: structures as objects with attributes, one-element arrays as their element.

    Raises:
        BackendError: scipy is not installed.
        InputError: the file cannot be read, or has no such variable.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise BackendError(f"{path} needs scipy. Install it: pip install 'saliency-edge[matlab]'") from error
    try:
        variables = loadmat(str(path), squeeze_me=True, struct_as_record=False)
    except NotImplementedError as error:
        raise InputError(f"{path} is of Matlab 7.3. Save it again in Matlab with save(..., '-v7')") from error
    except Exception as error:  # scipy's, zlib's, struct's: a damaged file raises whatever its bytes lead to
        raise InputError(f"cannot read {path} as a .mat file: {reason_of(error)}. Get it again") from error
    if name not in variables:
        found = ", ".join(key for key in variables if not key.startswith("__"))
        raise InputError(f"{path} has no variable {name!r}, but {found or 'none'}")
    return variables[name]
