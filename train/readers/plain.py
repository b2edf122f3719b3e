"""The plain layout: images, and fixations.csv or maps of the same names.

    photos/                            photos/
      images/001.jpg                     images/val/001.jpg
      fixations.csv                      maps/val/001.jpg

Without `images`, the photographs lie beside the table. The table has a header and the columns
`image,subject,x,y`, `image` being the path below `images`; more columns, such as `start_ms,duration_ms`, may
follow. x and y are in pixels of the photograph. A split is a folder below `images` and `maps`.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np

from ...runtime.errors import InputError, reason_of
from ..samples import Fixations
from .pairing import Found
from .pixels import below, images_in

TABLE = "fixations.csv"
COLUMNS = ("image", "subject", "x", "y")


def is_plain(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return (root / TABLE).is_file() or ((root / "images").is_dir() and (root / "maps").is_dir())


def find_plain(root: Path, split: str | None) -> Found:
    """List what lies in the folder.

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
    return {name: _fixations(points) for name, points in rows.items()}


def _fixations(points: list[tuple[float, float, str]]) -> Fixations:
    """Number the subjects in the order of their names."""
    _, subject = np.unique([label for _, _, label in points], return_inverse=True)
    xy = np.array([(x, y) for x, y, _ in points], np.float64)
    return Fixations(xy=xy, subject=subject.astype(np.int64))
