"""One door for all layouts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError, UsageError
from .layouts import (
    find_cat2000,
    find_mit1003,
    find_osie,
    find_plain,
    find_salicon,
    is_cat2000,
    is_mit1003,
    is_osie,
    is_plain,
    is_salicon,
)
from .pairing import Found, checked_samples, notes_of
from .sample import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A way in which datasets lie on disk: how to know it, and how to list it (root, split)."""

    fits: Callable[[Path], bool]
    find: Callable[[Path, str | None], Found]


LAYOUTS: dict[str, Layout] = {
    "salicon": Layout(fits=is_salicon, find=find_salicon),
    "cat2000": Layout(fits=is_cat2000, find=find_cat2000),
    "mit1003": Layout(fits=is_mit1003, find=find_mit1003),
    "osie": Layout(fits=is_osie, find=find_osie),
    "plain": Layout(fits=is_plain, find=find_plain),
}


def read_dataset(
    root: Path,
    *,
    layout: str | None = None,
    split: str | None = None,
    names: Collection[str] | None = None,
    strict: bool = False,
    stretch: bool = False,
) -> Dataset:
    """Read a dataset's photographs and ground truth, by reference.

    Pairs are matched by relative path. What is unpaired, unreadable or empty is left out and noted; a
    photograph of another aspect than its ground truth is noted, and used stretched to it.

    Args:
        root: the dataset's folder.
        layout: one of `LAYOUTS`; found out where it is None.
        split: a part that the layout keeps apart, such as `train` or `val`; all where it is None.
        names: take only these samples (their names, with or without suffix); all where it is None.
        strict: refuse a dataset with any note.
        stretch: photographs of another aspect are meant so (squashed): neither noted nor refused.

    Returns:
        The samples in order of their names.

    Raises:
        InputError: the folder is missing, of no known layout or has no samples; or notes, under `strict`.
        UsageError: an unknown layout.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder. Give the folder of a dataset")
    found = LAYOUTS[_layout_name(root, layout)].find(root, split)
    checked = checked_samples(found if names is None else _chosen(found, names, root))
    notes = tuple(notes_of(checked, stretch=stretch))
    if strict and notes:
        raise InputError(f"{root}: {len(notes)} of {len(checked)} do not fit, the first: {notes[0]}")
    samples = tuple(one.sample for one in checked if one.sample)
    if not samples:
        raise InputError(f"{root}: no photograph with ground truth{_why_none(notes)}")
    return Dataset(name="/".join(filter(None, (root.name, split))), samples=samples, notes=notes)


def read_names(path: Path) -> frozenset[str]:
    """Read a list of samples: one name a line, with or without suffix; empty lines are passed over.

    Raises:
        InputError: the file cannot be read, or names nothing.
    """
    try:
        names = frozenset(line.strip() for line in path.read_text(encoding="utf-8").splitlines()) - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}. Give a text file with one name a line") from error
    if not names:
        raise InputError(f"{path} names nothing. Give a text file with one name a line")
    return names


def _layout_name(root: Path, layout: str | None) -> str:
    if layout is None:
        layout = next((name for name, known in LAYOUTS.items() if known.fits(root)), None)
        if layout is None:
            raise InputError(f"{root} has none of the known layouts ({', '.join(LAYOUTS)}). Give its layout")
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout {layout!r}. Choose one of {', '.join(LAYOUTS)}")
    return layout


def _chosen(found: Found, names: Collection[str], root: Path) -> Found:
    """Keep the named samples; every name must be there."""
    wanted = set(names)
    kept = {name: path for name, path in found.photos.items() if {name, name + path.suffix} & wanted}
    missing = wanted - set(kept) - {name + path.suffix for name, path in kept.items()}
    if missing:
        raise InputError(f"{root}: {len(missing)} names are not in the dataset, the first: {min(missing)}")
    return Found(
        photos=kept,
        maps={name: found.maps[name] for name in kept if name in found.maps},
        fixations={name: found.fixations[name] for name in kept if name in found.fixations},
        sizes_hw=found.sizes_hw,
    )


def _why_none(notes: tuple[str, ...]) -> str:
    return f"; the first of {len(notes)} notes: {notes[0]}" if notes else ". Check the path and the split"
