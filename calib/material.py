"""What calibration is made from: frames of folders, globs, images, clips and manifests, read when needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.artifact import read_json
from ..runtime.errors import ArtifactError, InputError
from ..runtime.video.images import is_image, read_image
from ..runtime.video.sources import open_source

CLIP_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
CLIP_FRAMES = 256
"""How many frames of a clip are looked at, at most; they are spread over its length."""

MANIFEST_SCHEMA = 1


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
        refs = _manifest_frames(Path(source)) if source.endswith(".json") else _frames_of_files(source)
        found.update(dict.fromkeys(refs))
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


def _frames_of_files(source: str) -> list[FrameRef]:
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.exists():
        files = [path]
    else:
        files = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    refs = [ref for file in files for ref in _frames_of_file(file)]
    if not refs:
        raise InputError(f"no images and no clips in {source}. Give a folder, a glob, a clip or a manifest")
    return refs


def _frames_of_file(file: Path) -> list[FrameRef]:
    if is_image(file):
        return [FrameRef(path=file)]
    if file.suffix.lower() not in CLIP_SUFFIXES:
        return []
    with closing(open_source(str(file))) as clip:
        count = clip.frame_count or CLIP_FRAMES
    taken = min(count, CLIP_FRAMES)
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
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != MANIFEST_SCHEMA or "frames" not in content:
        raise ArtifactError(
            f"{path} is no manifest of schema {MANIFEST_SCHEMA}. Make one: saliency-calib select"
        )
    return [FrameRef(path=path.parent / entry["path"], index=entry["index"]) for entry in content["frames"]]
