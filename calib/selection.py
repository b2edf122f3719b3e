"""Frames for calibration: no near-duplicates, clips over their whole length, extremes represented.

A frame is described by a few named features and a perceptual hash."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.artifact import atomic_folder, is_temporary, write_json
from ..runtime.errors import ArtifactError, InputError, OutputError
from ..runtime.fit import resize
from ..runtime.progress import progress
from .frames import MANIFEST_SCHEMA, FrameRef, find_frames, read_frames

Kind = Literal["dark", "bright", "flat", "colourful"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_LOOKED_AT_HW = (120, 160)
_HASH_HW = (8, 9)
_DUPLICATE_BITS = 4  # of 64
_DUPLICATE_LUMINANCE = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A frame in a few figures, each 0 to 255.

    Attributes:
        luminance: mean of grey levels.
        contrast: their standard deviation.
        texture: mean magnitude of their gradient, per pixel of a 120 x 160 image.
        saturation: mean of the largest minus the smallest colour of each pixel.
        dhash: 64 bits, 16 hexadecimal digits: whether each of 8 x 8 cells is darker than its right neighbour
            (N. Krawetz, "Kind of Like That", 2013).
    """

    luminance: float
    contrast: float
    texture: float
    saturation: float
    dhash: str

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is special about the frame, if anything: its histograms stretch the ranges."""
        special: dict[Kind, bool] = {
            "dark": self.luminance < 64,
            "bright": self.luminance > 160,
            "flat": self.texture < 5,
            "colourful": self.saturation > 80,
        }
        return tuple(kind for kind, holds in special.items() if holds)


def features_of(frame_bgr: NDArray[np.uint8]) -> Features:
    """Measure a frame, (H, W, 3) BGR, 0 to 255, of any size."""
    small = resize(frame_bgr, _LOOKED_AT_HW)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)
    gradients = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return Features(
        luminance=round(float(grey.mean()), 2),
        contrast=round(float(grey.std()), 2),
        texture=round(float(np.hypot(*gradients).mean()), 2),
        saturation=round(float(np.mean(np.ptp(small.astype(np.int16), axis=2))), 2),
        dhash=_dhash(frame_bgr),
    )


def near_duplicates(features: list[Features]) -> dict[int, int]:
    """Find frames that look like an earlier one.

    Returns:
        By a frame's place, the place of the first frame that is kept and looks like it.
    """
    hashes = np.array([int(item.dhash, 16) for item in features], np.uint64)
    luminance = np.array([item.luminance for item in features])
    kept: list[int] = []
    alike: dict[int, int] = {}
    for place in range(len(features)):
        bits = _count_bits(hashes[kept] ^ hashes[place])
        near = (bits <= _DUPLICATE_BITS) & (np.abs(luminance[kept] - luminance[place]) < _DUPLICATE_LUMINANCE)
        if near.any():
            alike[place] = kept[int(np.argmax(near))]
        else:
            kept.append(place)
    return alike


def _dhash(frame_bgr: NDArray[np.uint8]) -> str:
    grey = np.asarray(cv2.cvtColor(resize(frame_bgr, _HASH_HW), cv2.COLOR_BGR2GRAY))
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


def _count_bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1)
    return np.asarray(bits.sum(axis=1), np.int64)


KIND_SHARE = 0.1
"""Each special kind of frame gets this share of the selection, where the sources hold so many."""

SPREAD = "spread"
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedFrame:
    """A frame and its measured features."""

    ref: FrameRef
    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A frame that was chosen.

    Attributes:
        inspected: the frame.
        why: the kind that it stands for, or `spread` for the many.
    """

    inspected: InspectedFrame
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Frames that were chosen, and from what.

    Attributes:
        chosen: in the order of their files.
        seen: number of frames inspected.
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
        return [item.inspected.ref for item in self.chosen]

    def counts(self) -> dict[str, int]:
        """Count the chosen frames by why they were chosen."""
        reasons = [item.why for item in self.chosen]
        return {why: reasons.count(why) for why in (*KINDS, SPREAD)}


def inspect_frames(refs: Sequence[FrameRef]) -> list[InspectedFrame]:
    """Measure the features of all frames, with a progress bar."""
    inspected = []
    with progress("frames inspected", len(refs)) as advance:
        for ref, frame_bgr in read_frames(refs):
            inspected.append(InspectedFrame(ref=ref, features=features_of(frame_bgr)))
            advance()
    return inspected


def select(inspected: Sequence[InspectedFrame], count: int, seed: int) -> Selection:
    """Choose frames; the same frames and seed give the same choice.

    Args:
        inspected: all there are.
        count: how many to choose; all that are no near-duplicates, where there are fewer.
        seed: of the order in which frames are taken.

    Raises:
        InputError: nothing is left.
    """
    alike = near_duplicates([item.features for item in inspected])
    pool = _in_order([item for place, item in enumerate(inspected) if place not in alike], seed)
    if not pool:
        raise InputError("no frames to choose from. Give a folder, a glob, or a clip")
    chosen: dict[FrameRef, Chosen] = {}
    for kind in KINDS:
        members = [item for item in pool if kind in item.features.kinds and item.ref not in chosen]
        have = sum(kind in item.inspected.features.kinds for item in chosen.values())
        _take(chosen, members, round(KIND_SHARE * count) - have, kind)
    _take(chosen, [item for item in pool if item.ref not in chosen], count - len(chosen), SPREAD)
    ordered = sorted(
        chosen.values(), key=lambda item: (item.inspected.ref.path, item.inspected.ref.index or 0)
    )
    return Selection(chosen=ordered, seen=len(inspected), duplicates=len(alike), seed=seed)


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
    with (
        atomic_folder(path, check_selection) as folder,
        progress("frames written", len(selection.chosen)) as advance,
    ):
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


def check_selection(path: Path) -> None:
    """See that a selection may take `path`'s place: nothing is there, an empty folder, or a selection alone.

    Raises:
        OutputError: something is there that is not named in a manifest of `write_folder`.
    """
    if not path.is_dir():  # whoever writes there says what it is
        return
    found = {item.name for item in path.iterdir() if not is_temporary(item.name)}
    ours = set()
    with suppress(ArtifactError, InputError):
        for number, ref in enumerate(find_frames([str(path / MANIFEST_NAME)])):
            if ref.path.parent == path and ref.path.name.startswith(f"{number:04d}_") and ref.path.is_file():
                ours |= {MANIFEST_NAME, ref.path.name}
    foreign = sorted(found - ours)
    if foreign:
        raise OutputError(
            f"{path} would be replaced, but it holds {foreign[0]}, which no selection has written. "
            "Name a new folder, or a .json file for a list"
        )


def _in_order(inspected: Sequence[InspectedFrame], seed: int) -> list[InspectedFrame]:
    """Shuffle images; order a clip's frames so that its first few are spread over its length already."""
    generator = np.random.default_rng(seed)
    turns = generator.permutation(len(inspected)) / max(len(inspected), 1)
    clips: dict[Path, list[int]] = {}
    for place, item in enumerate(inspected):
        if item.ref.index is not None:
            clips.setdefault(item.ref.path, []).append(place)
    for places in clips.values():
        start = generator.random()
        turns[places] = [(start + _van_der_corput(rank)) % 1 for rank in range(len(places))]
    return [inspected[place] for place in np.argsort(turns, kind="stable")]


def _van_der_corput(number: int) -> float:
    """Mirror a number's bits at the binary point: 0, 1/2, 1/4, 3/4, ...: any first few spread evenly."""
    return int(f"{number:b}"[::-1], 2) / (1 << number.bit_length())


def _take(chosen: dict[FrameRef, Chosen], members: Iterable[InspectedFrame], count: int, why: str) -> None:
    for item in islice(members, max(count, 0)):
        chosen[item.ref] = Chosen(inspected=item, why=why)


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
                "index": item.inspected.ref.index,
                "from": item.inspected.ref.name,
                "why": item.why,
                "features": asdict(item.inspected.features),
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


def selection_text(selection: Selection) -> str:
    """Say how many frames were chosen, and why."""
    counts = ", ".join(f"{count} {why}" for why, count in selection.counts().items() if count)
    return (
        f"inspected   {selection.seen} frames, {selection.duplicates} of them near-duplicates\n"
        f"chosen      {len(selection.chosen)}: {counts}"
    )


def selection_json(selection: Selection) -> dict[str, Any]:
    """Give the same as plain JSON values."""
    return {
        "seen": selection.seen,
        "duplicates": selection.duplicates,
        "frames": len(selection.chosen),
        "counts": selection.counts(),
    }


def select_frames(sources: Sequence[str], count: int, seed: int) -> Selection:
    """Look at all frames of the sources and choose `count` of them.

    Raises:
        InputError: a source holds no frames, or one cannot be read.
    """
    return select(inspect_frames(find_frames(sources)), count, seed)
