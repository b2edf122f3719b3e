"""Which frames calibrate: no near-duplicates, clips over their whole length, extremes represented."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..runtime.artifact import atomic_folder, write_json
from ..runtime.errors import InputError
from ..runtime.progress import progress
from .features import KINDS, Features, features_of, near_duplicates
from .material import MANIFEST_SCHEMA, FrameRef, read_frames

KIND_SHARE = 0.1
"""Each special kind of frame gets this share of the selection, where the sources hold so many."""

SPREAD = "spread"
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A frame that was looked at."""

    ref: FrameRef
    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A frame that was chosen.

    Attributes:
        looked: the frame.
        why: the kind that it stands for, or `spread` for the many.
    """

    looked: Looked
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Frames that were chosen, and from what.

    Attributes:
        chosen: in the order of their files.
        seen: how many frames were looked at.
        duplicates: how many of them look like an earlier one.
        seed: of the choice.
    """

    chosen: Sequence[Chosen]
    seen: int
    duplicates: int
    seed: int

    @property
    def refs(self) -> list[FrameRef]:
        """The chosen frames by reference."""
        return [item.looked.ref for item in self.chosen]

    def counts(self) -> dict[str, int]:
        """Count the chosen frames by why they were chosen."""
        reasons = [item.why for item in self.chosen]
        return {why: reasons.count(why) for why in (*KINDS, SPREAD)}


def look_at(refs: Sequence[FrameRef]) -> list[Looked]:
    """Measure all frames, with a progress bar."""
    looked = []
    with progress("frames looked at", len(refs)) as advance:
        for ref, frame_bgr in read_frames(refs):
            looked.append(Looked(ref=ref, features=features_of(frame_bgr)))
            advance()
    return looked


def select(looked: Sequence[Looked], count: int, seed: int) -> Selection:
    """Choose frames; the same frames and seed give the same choice.

    Args:
        looked: all there are.
        count: how many to choose; all that are no near-duplicates, where there are fewer.
        seed: of the order in which frames are taken.

    Raises:
        InputError: nothing is left.
    """
    alike = near_duplicates([item.features for item in looked])
    pool = _in_order([item for place, item in enumerate(looked) if place not in alike], seed)
    if not pool:
        raise InputError("no frames to choose from. Give a folder, a glob, or a clip")
    chosen: dict[FrameRef, Chosen] = {}
    for kind in KINDS:
        members = [item for item in pool if kind in item.features.kinds and item.ref not in chosen]
        have = sum(kind in item.looked.features.kinds for item in chosen.values())
        _take(chosen, members, round(KIND_SHARE * count) - have, kind)
    _take(chosen, [item for item in pool if item.ref not in chosen], count - len(chosen), SPREAD)
    ordered = sorted(chosen.values(), key=lambda item: (item.looked.ref.path, item.looked.ref.index or 0))
    return Selection(chosen=ordered, seen=len(looked), duplicates=len(alike), seed=seed)


def write_manifest(selection: Selection, path: Path) -> None:
    """Write the selection as a list that the other commands take for a source.

    Raises:
        OutputError: the file cannot be written.
    """
    folder = path.parent.resolve()
    write_json(path, _manifest(selection, [_relative(ref.path, folder) for ref in selection.refs]))


def write_folder(selection: Selection, path: Path) -> None:
    """Write the frames themselves, images as they are and a clip's frames as PNG, and a manifest of them.

    Raises:
        OutputError: the folder cannot be written.
    """
    with atomic_folder(path) as folder, progress("frames written", len(selection.chosen)) as advance:
        names = []
        for number, (ref, frame) in enumerate(read_frames(selection.refs)):
            names.append(_file_name(number, ref))
            if ref.index is None:
                shutil.copyfile(ref.path, folder / names[-1])
            else:
                cv2.imwrite(str(folder / names[-1]), frame)
            advance()
        manifest = _manifest(selection, names)
        for entry in manifest["frames"]:
            entry["index"] = None
        write_json(folder / MANIFEST_NAME, manifest)


def _in_order(looked: Sequence[Looked], seed: int) -> list[Looked]:
    """Shuffle images; order a clip's frames so that its first few are spread over its length already."""
    generator = np.random.default_rng(seed)
    turns = generator.permutation(len(looked)) / max(len(looked), 1)
    clips: dict[Path, list[int]] = {}
    for place, item in enumerate(looked):
        if item.ref.index is not None:
            clips.setdefault(item.ref.path, []).append(place)
    for places in clips.values():
        start = generator.random()
        turns[places] = [(start + _van_der_corput(rank)) % 1 for rank in range(len(places))]
    return [looked[place] for place in np.argsort(turns, kind="stable")]


def _van_der_corput(number: int) -> float:
    """Mirror a number's bits at the binary point: 0, 1/2, 1/4, 3/4, ...: any first few spread evenly."""
    return int(f"{number:b}"[::-1], 2) / (1 << number.bit_length())


def _take(chosen: dict[FrameRef, Chosen], members: Iterable[Looked], count: int, why: str) -> None:
    for item in islice(members, max(count, 0)):
        chosen[item.ref] = Chosen(looked=item, why=why)


def _manifest(selection: Selection, paths: Sequence[str]) -> dict[str, Any]:
    return {
        "schema": MANIFEST_SCHEMA,
        "seed": selection.seed,
        "seen": selection.seen,
        "duplicates": selection.duplicates,
        "counts": selection.counts(),
        "frames": [
            {
                "path": path,
                "index": item.looked.ref.index,
                "from": item.looked.ref.name,
                "why": item.why,
                "features": asdict(item.looked.features),
            }
            for path, item in zip(paths, selection.chosen, strict=True)
        ],
    }


def _relative(path: Path, folder: Path) -> str:
    """Name a file as seen from the manifest's folder."""
    return Path(os.path.relpath(path.resolve(), folder)).as_posix()


def _file_name(number: int, ref: FrameRef) -> str:
    if ref.index is None:
        return f"{number:04d}_{ref.path.name}"
    return f"{number:04d}_{ref.path.stem}_{ref.index:06d}.png"
