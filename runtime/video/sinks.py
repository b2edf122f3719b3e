"""Where results go: overlay videos, maps as files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from ..artifact import atomic_file, check_writable, temporary_beside
from ..errors import OutputError, UsageError
from ..fit import fit_frame
from .frame import Result, SaliencyMap
from .opencv_setup import silence

MapsFormat = Literal["png16", "npy"]

VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov")

_CODEC = "mp4v"  # MPEG-4 Part 2: the one that OpenCV's wheels can always encode
_DEFAULT_FPS = 25.0


class Sink(Protocol):
    """Takes results in order. What it wrote stays whole however the run ends."""

    description: str
    """What is written where, in a few words."""
    shows_pictures: bool
    """Whether it needs the renderer's pictures."""

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def close(self) -> None:
        """Finish what was written, also after a failure elsewhere.

        Raises:
            OutputError: it cannot be finished.
        """
        ...


class VideoSink:
    """A video of the pictures, complete under its name when it is closed."""

    shows_pictures = True

    def __init__(self, path: Path, *, fps: float | None) -> None:
        """Make sure that the file can be written; it takes the size of the first picture.

        Args:
            path: of the video; its suffix gives the container.
            fps: of the video; 25 where it is not known.

        Raises:
            UsageError: the suffix is not a video's.
            OutputError: the folder cannot be written.
        """
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise UsageError(f"{path} is no video name. End it in one of {', '.join(VIDEO_SUFFIXES)}")
        silence()
        self.description = str(path)
        self._path, self._fps = path, fps or _DEFAULT_FPS
        self._temporary = temporary_beside(path)
        self._writer: cv2.VideoWriter | None = None
        self._size_hw = (0, 0)

    def write(self, result: Result) -> None:
        """Append a picture; one of another size is brought to the first one's, its aspect kept."""
        picture_bgr = result.picture_bgr
        if self._writer is None:
            self._size_hw = (picture_bgr.shape[0], picture_bgr.shape[1])
            self._writer = self._open()
        self._writer.write(fit_frame(picture_bgr, self._size_hw, "pad"))

    def close(self) -> None:
        """Write the video's index and give the file its name; without a picture, leave no file."""
        try:
            if self._writer is not None:
                self._writer.release()
                self._temporary.chmod(0o644)
                self._temporary.replace(self._path)
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
        finally:
            self._temporary.unlink(missing_ok=True)

    def _open(self) -> cv2.VideoWriter:
        height, width = self._size_hw
        writer = cv2.VideoWriter(
            str(self._temporary), cv2.VideoWriter.fourcc(*_CODEC), self._fps, (width, height)
        )
        if not writer.isOpened():
            raise OutputError(f"OpenCV cannot write {width}x{height} video to {self._path}. Try .mp4")
        return writer


class MapSink:
    """One file for each map, named like its frame.

    `npy`: (h, w) float32, 0 to 1, as the network gave it, cut to the frame. `png16`: at the frame's size,
    65535 where saliency is 1.
    """

    shows_pictures = False

    def __init__(self, folder: Path, maps_format: MapsFormat) -> None:
        """Make the folder.

        Raises:
            OutputError: it cannot be made, or not be written.
        """
        self.description = f"{folder}/*{_MAP_SUFFIXES[maps_format]}"
        self._folder, self._format = folder, maps_format
        check_writable(folder / "map")

    def write(self, result: Result) -> None:
        """Write one map."""
        saliency = result.saliency
        with atomic_file(self._folder / (saliency.frame.name + _MAP_SUFFIXES[self._format])) as temporary:
            if self._format == "npy":
                np.save(temporary, saliency.values)
            else:
                temporary.write_bytes(_png16_of(saliency))

    def close(self) -> None:
        """Nothing to finish: each map is whole."""


_MAP_SUFFIXES: dict[MapsFormat, str] = {"png16": ".png", "npy": ".npy"}


def _png16_of(saliency: SaliencyMap) -> bytes:
    height, width = saliency.frame.size_hw
    values = cv2.resize(saliency.values, (width, height), interpolation=cv2.INTER_CUBIC)
    levels = np.rint(np.clip(values, 0.0, 1.0) * 65535).astype(np.uint16)
    return cv2.imencode(".png", levels)[1].tobytes()
