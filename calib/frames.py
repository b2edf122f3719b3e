"""Frames for calibration, of folders, globs, images, clips and manifests; and those that ship.

NOTICE names the authors and licences of the shipped clip and images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, TypedDict

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ..runtime.contract import Contract
from ..runtime.errors import InputError
from ..runtime.fit import fit_frame, resize
from ..runtime.images import is_image, read_image
from ..runtime.records import Count, check_schema, read_json, to_record
from ..runtime.stream.sources.open_source import open_source

CLIP_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
MAX_CLIP_FRAMES = 256
"""Maximum number of frames taken from one clip, spread over its length."""

MANIFEST_SCHEMA = 1
_REMEDY = "Make one: saliency-calib select SOURCE... --output frames.json"


class _ManifestEntry(TypedDict):
    """One frame as the list has it, by its path as seen from the list; the rest is for people."""

    path: Annotated[str, Meta(min_length=1, pattern=r"^[^\0]*$")]
    index: Count | None


class _Manifest(TypedDict):
    """What is read of a list of frames."""

    frames: list[_ManifestEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """One frame by reference.

    Attributes:
        path: of the image or the clip.
        index: of the frame in a clip, from 0; None for an image.
    """

    path: Path
    index: int | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return str(self.path) if self.index is None else f"{self.path}#{self.index}"


def find_frames(sources: Sequence[str]) -> list[FrameRef]:
    """List the frames of all sources, each once.

    Args:
        sources: folders (searched to any depth), globs, images, clips, or manifests that
            `saliency-calib select` wrote.

    Raises:
        InputError: a source holds none, or a clip cannot be opened.
        ArtifactError: a `.json` is no manifest.
    """
    found: dict[FrameRef, None] = {}
    for source in sources:
        if source.endswith(".json"):
            refs = _manifest_frames(Path(source))
        else:
            refs = [ref for file in _files_of(source) for ref in _frames_of_file(file)]
        found.update(dict.fromkeys(refs))
    return list(found)


def files_read(sources: Sequence[str]) -> list[Path]:
    """List the files that `find_frames` and `read_frames` read, without opening an image or a clip.

    Raises:
        InputError: a source holds none.
        ArtifactError: a `.json` is no manifest.
    """
    found: dict[Path, None] = {}
    for source in sources:
        if source.endswith(".json"):
            found.update(dict.fromkeys([Path(source), *(ref.path for ref in _manifest_frames(Path(source)))]))
        else:
            found.update(dict.fromkeys(_files_of(source)))
    return list(found)


def read_frames(refs: Sequence[FrameRef]) -> Iterator[tuple[FrameRef, NDArray[np.uint8]]]:
    """Read frames, (H', W', 3) BGR, a clip's in the order of time; one is held at a time.

    Raises:
        InputError: an image is damaged, or a clip ends before a frame.
    """
    for path, group in groupby(refs, key=lambda ref: ref.path):
        members = list(group)
        if members[0].index is None:
            yield from ((ref, read_image(path)) for ref in members)
        else:
            yield from _read_clip(path, members)


def _files_of(source: str) -> list[Path]:
    """List the images and clips of a folder, a glob or a path."""
    path = Path(source)
    if not source:
        files = []
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.exists():
        files = [path]
    else:
        files = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    found = [file for file in files if is_image(file) or file.suffix.lower() in CLIP_SUFFIXES]
    if not found:
        raise InputError(
            f"no images and no clips in {source or 'the empty name'}. "
            "Give a folder, a glob, a clip or a manifest"
        )
    return found


def _frames_of_file(file: Path) -> list[FrameRef]:
    if is_image(file):
        return [FrameRef(path=file)]
    with closing(open_source(str(file))) as clip:
        count = clip.frame_count or MAX_CLIP_FRAMES
    taken = min(count, MAX_CLIP_FRAMES)
    indices = sorted({(2 * part + 1) * count // (2 * taken) for part in range(taken)})
    return [FrameRef(path=file, index=index) for index in indices]


def _read_clip(path: Path, refs: Sequence[FrameRef]) -> Iterator[tuple[FrameRef, NDArray[np.uint8]]]:
    """Decode from the start on: seeking is not exact. A count in a file's head may be off by a few frames."""
    wanted = {ref.index or 0: ref for ref in refs}
    last = max(wanted)
    with closing(open_source(str(path))) as clip, closing(clip.frames()) as frames:
        for frame in frames:
            if frame.index in wanted:
                yield wanted[frame.index], frame.image_bgr
            if frame.index == last:
                break


def _manifest_frames(path: Path) -> list[FrameRef]:
    what = "a list of frames"
    content = check_schema(read_json(path, remedy=_REMEDY), MANIFEST_SCHEMA, str(path), what, remedy=_REMEDY)
    file = to_record(content, _Manifest, str(path), remedy=_REMEDY, more_fields=True)
    return [FrameRef(path=path.parent / entry["path"], index=entry["index"]) for entry in file["frames"]]


SHIPPED_CLIP_FRAMES = 4
_ASSETS = Path(__file__).parent / "assets"


def shipped_clip() -> Path:
    """Path of the shipped clip: 132 frames of Big Buck Bunny, 720 x 1280 (H x W), 25 a second."""
    return _ASSETS / "big_buck_bunny.mp4"


def shipped_frames() -> list[tuple[str, NDArray[np.uint8]]]:
    """Read the shipped images in the order of their names, then frames evenly spaced over the clip.

    Returns:
        Name and frame, (H, W, 3) BGR, 0 to 255; sizes differ, none is resized.

    Raises:
        InputError: a file is missing or damaged.
    """
    photos = [(path.stem, _read_photo(path)) for path in sorted(_ASSETS.glob("*.jpg"))]
    return photos + _clip_frames(shipped_clip())


def _read_photo(path: Path) -> NDArray[np.uint8]:
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise InputError(f"cannot read the shipped image {path}. Install saliency-edge again")
    return photo.astype(np.uint8, copy=False)


def _clip_frames(clip: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    """Decode the middle frame of equal parts of the clip, from the start on: seeking is not exact."""
    capture = cv2.VideoCapture(str(clip))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = {(2 * part + 1) * count // (2 * SHIPPED_CLIP_FRAMES) for part in range(SHIPPED_CLIP_FRAMES)}
    frames = []
    for index in range(max(wanted) + 1):
        whole, frame = capture.read()
        if not whole:
            raise InputError(f"cannot read frame {index} of {clip}. Install saliency-edge again")
        if index in wanted:
            frames.append((f"{clip.stem}_{index:03d}", frame.astype(np.uint8, copy=False)))
    capture.release()
    return frames


def fitted_frames(
    refs: Sequence[FrameRef], contract: Contract, shown_hw: tuple[int, int] | None
) -> Iterator[NDArray[np.uint8]]:
    """Read frames at a network's size, (H, W, 3) BGR, one at a time.

    Args:
        refs: the frames.
        contract: of the network.
        shown_hw: the size that squashed images are shown at; None: as their pixels are.
    """
    for _, frame_bgr in read_frames(refs):
        shown = frame_bgr if shown_hw is None else resize(frame_bgr, shown_hw)
        yield fit_frame(shown, contract.size_hw, contract.fit)
