"""Where frames come from: video files and images."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Generator, Sequence
from os.path import commonpath
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..errors import InputError
from .frame import Frame
from .images import check_size, is_image, read_image
from .opencv_setup import silence


class Source(Protocol):
    """Frames in order. One thread at a time may use it."""

    description: str
    """Name, size, rate and length in a few words, such as `clip.mp4, 1280x720, 25 fps, 132 frames`."""
    frame_count: int | None
    """How many frames will come, where that is known; a video file's own count may be off by some."""
    fps: float | None
    """Frames per second of time in the source, where it has time."""

    def frames(self) -> Generator[Frame, None, None]:
        """Read the frames, once.

        Raises:
            InputError: a frame cannot be read; the frames before it have been given.
        """
        ...

    def close(self) -> None:
        """Release the file or the device."""
        ...


def open_source(text: str, *, every: int = 1, max_frames: int | None = None) -> Source:
    """Open a source by its name.

    Args:
        text: a video file, a folder of images, an image, or a glob such as `shots/*.png`.
        every: take one frame in so many, beginning with the first.
        max_frames: end after so many; `None`: take all.

    Raises:
        InputError: there is nothing there, or nothing that can be read.
    """
    path = Path(text)
    if path.is_dir():
        return ImageSource(_images_in(path), text, every=every, max_frames=max_frames)
    if path.is_file() and is_image(path):
        return ImageSource([path], text, every=every, max_frames=max_frames)
    if path.exists():
        return VideoSource(path, every=every, max_frames=max_frames)
    return ImageSource(_images_of_glob(text), text, every=every, max_frames=max_frames)


class ImageSource:
    """Images as frames, each at its own size."""

    fps: float | None = None

    def __init__(self, paths: Sequence[Path], text: str, *, every: int, max_frames: int | None) -> None:
        """Take images in the order given; they are read when their turn comes.

        Args:
            paths: the images.
            text: what the user calls them.
            every: take one in so many.
            max_frames: take so many at most.
        """
        names = _names_of(paths)
        self._images = list(enumerate(zip(paths, names, strict=True)))[::every][:max_frames]
        self.frame_count: int | None = len(self._images)
        plural = "" if len(self._images) == 1 else "s"
        self.description = f"{text}, {len(self._images)} image{plural}"

    def frames(self) -> Generator[Frame, None, None]:
        """Read the images; see `Source.frames`."""
        for index, (path, name) in self._images:
            image_bgr = read_image(path)
            yield Frame(index=index, name=name, image_bgr=image_bgr, captured_s=time.monotonic())

    def close(self) -> None:
        """Nothing to release."""


class VideoSource:
    """A video file, read with OpenCV."""

    def __init__(self, path: Path, *, every: int, max_frames: int | None) -> None:
        """Open a video file.

        Args:
            path: an existing file.
            every: take one frame in so many.
            max_frames: take so many at most.

        Raises:
            InputError: it is no video, or one that OpenCV cannot read.
        """
        silence()
        self._path, self._every = path, every
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{path} is no video that OpenCV can read: it is empty, damaged or of another kind. "
                "Try it in a player"
            )
        width, height = (
            int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        check_size((height, width), str(path))
        self.fps: float | None = _positive(self._capture.get(cv2.CAP_PROP_FPS))
        announced = _positive(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._announced_s = announced / self.fps if announced and self.fps else None
        self._limit = max_frames
        self.frame_count: int | None = _taken(int(announced), every, max_frames) if announced else max_frames
        rate = f", {self.fps:.4g} fps" if self.fps else ""
        length = f", {int(announced)} frames" if announced else ""
        self.description = f"{path}, {width}x{height}{rate}{length}"

    def frames(self) -> Generator[Frame, None, None]:
        """Read the video; see `Source.frames`."""
        index, given, timestamp_s = 0, 0, 0.0
        while given != self._limit and self._capture.grab():
            timestamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            if index % self._every == 0:
                yield self._frame(index, timestamp_s)
                given += 1
            index += 1
        if given != self._limit:
            self._check_end(index, timestamp_s)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _frame(self, index: int, timestamp_s: float) -> Frame:
        captured_s = time.monotonic()
        whole, image_bgr = self._capture.retrieve()
        if not whole:
            raise InputError(f"{self._path}: frame {index} cannot be decoded")
        return Frame(
            index=index,
            name=f"{index:06d}",
            image_bgr=image_bgr.astype(np.uint8, copy=False),
            captured_s=captured_s,
            timestamp_s=timestamp_s,
        )

    def _check_end(self, frame_count: int, last_s: float) -> None:
        """Tell a video that is over from one that breaks off; times, since counts are often estimates."""
        if frame_count == 0:
            raise InputError(f"{self._path} has no frame that can be decoded")
        if self._announced_s and self._announced_s - last_s > max(0.1 * self._announced_s, 0.5):
            raise InputError(
                f"{self._path} breaks off after {frame_count} frames, at {last_s:.1f} s of "
                f"{self._announced_s:.1f} s: it is cut off or damaged. The frames before are done"
            )


def _positive(value: float) -> float | None:
    """OpenCV's word for "unknown" is zero or below."""
    return value if value > 0 else None


def _taken(count: int, every: int, max_frames: int | None) -> int:
    """Count the frames that are taken of `count`."""
    taken = -(-count // every)
    return taken if max_frames is None else min(taken, max_frames)


def _images_in(folder: Path) -> list[Path]:
    images = sorted(filter(is_image, folder.iterdir()), key=_natural_key)
    if not images:
        raise InputError(f"no images in {folder}. Give a folder with .jpg or .png files, or a video file")
    return images


def _images_of_glob(text: str) -> list[Path]:
    if not set(text) & set("*?["):
        raise InputError(f"no such file or folder: {text}. Give a video file, an image or a folder of images")
    pattern = Path(text)
    matches = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
    images = sorted(filter(is_image, matches), key=_natural_key)
    if not images:
        raise InputError(f"no image matches {text}. Give a folder, or a glob such as 'shots/*.png'")
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
