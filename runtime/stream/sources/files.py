"""Video files and images as sources."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from itertools import count
from os.path import commonpath
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from ...errors import InputError
from ...frame import Frame
from ...images import check_size, is_image, read_image
from ...opencv import silence
from ...public_text import public_name
from .source import taken_of

_ISO_STARTS = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
_LARGEST_HEADER = 4096  # bytes; a movie's header comes first in its box


class VideoSource:
    """A video file, read with OpenCV."""

    is_live = False

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
        self._path, self._name, self._every = path, public_name(str(path)), every
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{self._name} is no video that OpenCV can read: it is empty, damaged or of another kind. "
                "Try it in a player"
            )
        width, height = (
            int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        check_size((height, width), self._name)
        self.fps: float | None = _positive(self._capture.get(cv2.CAP_PROP_FPS))
        announced = _positive(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._announced_s = announced / self.fps if announced and self.fps else None
        self._limit = max_frames
        self.frame_count: int | None = (
            taken_of(int(announced), every, max_frames) if announced else max_frames
        )
        rate = f", {self.fps:.4g} fps" if self.fps else ""
        length = f", {int(announced)} frames" if announced else ""
        self.description = f"{self._name}, {width}x{height}{rate}{length}"

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

    def stop(self) -> None:
        """Nothing to interrupt: no read waits."""

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _frame(self, index: int, timestamp_s: float) -> Frame:
        captured_s = time.monotonic()
        whole, image_bgr = self._capture.retrieve()
        if not whole:
            raise InputError(f"{self._name}: frame {index} cannot be decoded")
        return Frame(
            index=index,
            name=f"{index:06d}",
            image_bgr=image_bgr.astype(np.uint8, copy=False),
            captured_s=captured_s,
            timestamp_s=timestamp_s,
        )

    def _check_end(self, frame_count: int, last_s: float) -> None:
        """Tell a video that is over from one that breaks off.

        The announced length is a hint and no more: it may be that of a longer sound track, it counts from 0
        where the video starts later, and the last frame may be shown for long. So a video that seems short is
        damaged only if its file is cut off, or if it holds more and later frames than were decoded.
        """
        if frame_count == 0:
            raise InputError(f"{self._name} has no frame that can be decoded")
        patience_s = max(0.1 * (self._announced_s or 0.0), 0.5)
        if not self._announced_s or self._announced_s - last_s <= patience_s:
            return
        if is_cut_off(self._path) or self._end_s(frame_count) > last_s + patience_s:
            raise InputError(
                f"{self._name} breaks off after {frame_count} frames, at {last_s:.1f} s of "
                f"{self._announced_s:.1f} s: it is cut off or damaged. The frames before are done"
            )

    def _end_s(self, frame_count: int) -> float:
        """The time up to which the file has frames, decoded or not.

        An MP4's index counts its frames, but those that a phone's trimming hides are no part of the movie. In
        other files, packets are read once more, without decoding.
        """
        duration_s = movie_duration_s(self._path)
        if duration_s is None:
            return self._last_packet_s()
        is_short = frame_count < 0.9 * self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return duration_s if is_short else 0.0

    def _last_packet_s(self) -> float:
        packets = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        last_s = 0.0
        try:
            while packets.grab():
                last_s = max(last_s, packets.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
        finally:
            packets.release()
        return last_s


def is_cut_off(path: Path) -> bool:
    """Tell whether a file is shorter than its container says: MP4 and MOV, Matroska and WebM, AVI.

    Other containers do not tell, or not from one place.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[4:8] in _ISO_STARTS:
            return max((end for _, _, end in _boxes(file, size)), default=0) > size
        if start.startswith(b"RIFF"):
            return 8 + int.from_bytes(start[4:8], "little") > size
        if start.startswith(b"\x1a\x45\xdf\xa3"):
            return _end_of_segment(file) > size
    return False


def movie_duration_s(path: Path) -> float | None:
    """How long the movie in an MP4 or MOV lasts, in seconds; `None` for other files."""
    with path.open("rb") as file:
        for kind, start, end in _boxes(file, path.stat().st_size):
            if kind == b"moov":
                file.seek(start)
                header = file.read(min(end - start, _LARGEST_HEADER)).partition(b"mvhd")[2]
                # ISO 14496-12, 8.2.2: two dates, the time scale, the duration; of 64 bits in version 1.
                scale_at, width = (20, 8) if header[:1] == b"\1" else (12, 4)
                scale = int.from_bytes(header[scale_at : scale_at + 4], "big")
                duration = int.from_bytes(header[scale_at + 4 : scale_at + 4 + width], "big")
                return duration / scale if scale else None
    return None


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of an MP4's top-level boxes (ISO 14496-12, 4.2); a size of 0 is up to the end."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            break
        yield head[4:8], position, position + length
        position += length


def _end_of_segment(file: BinaryIO) -> int:
    """Where Matroska's segment ends, after its header (RFC 8794); 0 where its length is unknown."""
    file.seek(4)
    header_size = _ebml_size(file)
    file.seek(header_size, 1)
    file.seek(4, 1)  # the segment's identifier
    segment_size = _ebml_size(file)
    return file.tell() + segment_size if segment_size else 0


def _ebml_size(file: BinaryIO) -> int:
    """Read a size whose first byte's leading zeros tell its length; all ones are unknown, given as 0."""
    first = file.read(1)
    length = 9 - first[0].bit_length() if first else 9
    if length > 8:
        return 0
    size = int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)
    return 0 if size == (1 << 7 * length) - 1 else size


def _positive(value: float) -> float | None:
    """OpenCV's word for "unknown" is zero or below."""
    return value if value > 0 else None


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
        names = names_of(paths)
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


def names_of(paths: Sequence[Path]) -> list[str]:
    """Name images by their stems, or where two are alike, by what tells them apart; no two have one name."""
    counts = Counter(path.stem for path in paths)
    base = commonpath([path.parent for path in paths]) if paths else ""
    distinct = [path.relative_to(base).as_posix().replace("/", "_") for path in paths]
    names = [
        path.stem if counts[path.stem] == 1 else name for path, name in zip(paths, distinct, strict=True)
    ]
    used: set[str] = set()
    for place, name in enumerate(names):  # `a.jpg` is also the stem of `a.jpg.png`
        free = (name if number == 0 else f"{name}-{number}" for number in count())
        names[place] = next(candidate for candidate in free if candidate not in used)
        used.add(names[place])
    return names
