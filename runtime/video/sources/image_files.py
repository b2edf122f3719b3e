"""Images as a source: one, a folder of them, or a glob."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Generator, Sequence
from os.path import commonpath
from pathlib import Path

from ...errors import InputError
from ...public_text import public_name
from ..frame import Frame
from ..images import is_image, read_image


class ImageSource:
    """Images as frames, each at its own size."""

    fps: float | None = None
    is_live = False

    def __init__(self, paths: Sequence[Path], name: str, *, every: int, max_frames: int | None) -> None:
        """Take images in the order given; they are read when their turn comes.

        Args:
            paths: the images.
            name: what to call them.
            every: take one in so many.
            max_frames: take so many at most.
        """
        names = _names_of(paths)
        self._images = list(enumerate(zip(paths, names, strict=True)))[::every][:max_frames]
        self.frame_count: int | None = len(self._images)
        plural = "" if len(self._images) == 1 else "s"
        self.description = f"{name}, {len(self._images)} image{plural}"

    def frames(self) -> Generator[Frame, None, None]:
        """Read the images; see `Source.frames`."""
        for index, (path, name) in self._images:
            image_bgr = read_image(path)
            yield Frame(index=index, name=name, image_bgr=image_bgr, captured_s=time.monotonic())

    def stop(self) -> None:
        """Nothing to interrupt: no read waits."""

    def close(self) -> None:
        """Nothing to release."""


def images_in(folder: Path) -> list[Path]:
    """List the images of a folder, in natural order.

    Raises:
        InputError: there are none.
    """
    images = sorted(filter(is_image, folder.iterdir()), key=_natural_key)
    if not images:
        raise InputError(
            f"no images in {public_name(str(folder))}. Give a folder with .jpg or .png files, or a video file"
        )
    return images


def images_of_glob(text: str) -> list[Path]:
    """List the images that match a glob, in natural order.

    Raises:
        InputError: there are none, or the text is no glob.
    """
    name = public_name(text)
    if not set(text) & set("*?["):
        raise InputError(f"no such file or folder: {name}. Give a video file, an image or a folder of images")
    pattern = Path(text)
    try:
        matches = list(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    except ValueError:  # `a**`
        matches = []
    images = sorted(filter(is_image, matches), key=_natural_key)
    if not images:
        raise InputError(f"no image matches {name}. Give a folder, or a glob such as 'shots/*.png'")
    return images


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort `shot9` before `shot10`."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", str(path))]


def _names_of(paths: Sequence[Path]) -> list[str]:
    """Name images by their stems, or where two are alike, by what tells them apart."""
    counts = Counter(path.stem for path in paths)
    base = commonpath([path.parent for path in paths]) if paths else ""
    distinct = [path.relative_to(base).as_posix().replace("/", "_") for path in paths]
    return [path.stem if counts[path.stem] == 1 else name for path, name in zip(paths, distinct, strict=True)]
