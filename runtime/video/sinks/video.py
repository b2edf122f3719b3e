"""Videos of the pictures: whole when a run ends, or playable at every moment of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...artifact import PendingFile
from ...errors import UsageError
from ...fit import fit_frame, size_hw_of
from ..frame import Result
from .encoder import FfmpegEncoder, OpenCvEncoder, has_ffmpeg, is_playable

VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov")

_DEFAULT_FPS = 25.0
_SUFFIXES_PLAYABLE_UNFINISHED = (".mkv", ".avi")
_LONGEST_HOLD_S = 5.0


class VideoSink:
    """A video of all pictures, none left out or doubled, complete under its name when it is closed."""

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
        _check_suffix(path)
        self.description = str(path)
        self._video = _VideoFile(path, OpenCvEncoder, fps or _DEFAULT_FPS)
        self.has_reader = self._video.is_special

    def write(self, result: Result) -> None:
        """Append a picture; one of another size is brought to the first one's, its aspect kept."""
        self._video.append(result.picture_bgr)

    def close(self) -> None:
        """Write the video's index and give the file its name; without a picture, leave no file."""
        self._video.close()


class RecordingSink:
    """A video of a live run, in the time of the run, that can be played even if the run is killed.

    It takes its name as soon as its first second can be played; until then the old file stays. Pictures are
    held or left out so that the video lasts as long as what it shows.
    """

    shows_pictures = True

    def __init__(self, path: Path, *, fps: float | None) -> None:
        """Make sure that the file can be written, and so that it can be played unfinished.

        Args:
            path: of the video; its suffix gives the container.
            fps: of the video; 25 where it is not known.

        Raises:
            UsageError: the suffix is not a video's, or needs ffmpeg, which is not installed.
            OutputError: the folder cannot be written.
        """
        _check_suffix(path)
        if not has_ffmpeg() and path.suffix.lower() not in _SUFFIXES_PLAYABLE_UNFINISHED:
            raise UsageError(
                f"{path}: recording a live source as {path.suffix} needs ffmpeg, which is not installed. "
                "End the name in .mkv, or: apt-get install ffmpeg"
            )
        self.description = str(path)
        self._clock = _Clock(fps or _DEFAULT_FPS)
        self._video = _VideoFile(path, FfmpegEncoder if has_ffmpeg() else OpenCvEncoder, self._clock.fps)
        self.has_reader = self._video.is_special

    def write(self, result: Result) -> None:
        """Append a picture for as many frames of the video as have passed since the one before."""
        self._video.append(result.picture_bgr, self._clock.advance(result.saliency.frame.captured_s))
        if self._clock.is_new_second():
            self._video.take_name_if_playable()

    def close(self) -> None:
        """Write what is left; without a picture, leave no file."""
        self._video.close()


class _VideoFile:
    """A video of the first picture's size, beside its final name until it is worth that name."""

    def __init__(self, path: Path, encoder: type[OpenCvEncoder | FfmpegEncoder], fps: float) -> None:
        self._pending = PendingFile(path)
        self.is_special = self._pending.is_special
        self._make_encoder, self._fps = encoder, fps
        self._encoder: OpenCvEncoder | FfmpegEncoder | None = None
        self._size_hw = (0, 0)

    def append(self, picture_bgr: NDArray[np.uint8], times: int = 1) -> None:
        """Write a picture so many times, brought to the first one's size with its aspect kept."""
        if self._encoder is None:
            self._size_hw = size_hw_of(picture_bgr)
            self._encoder = self._make_encoder(self._pending.path, fps=self._fps, size_hw=self._size_hw)
        fitted_bgr = fit_frame(picture_bgr, self._size_hw, "pad")
        for _ in range(times):
            self._encoder.write(fitted_bgr)

    def take_name_if_playable(self) -> None:
        """Put the file in the place of the old one while it is written, once it is better than none."""
        if not self._pending.is_placed and not self._pending.is_special and is_playable(self._pending.path):
            self._pending.place()

    def close(self) -> None:
        """Finish the file and name it; what cannot be finished goes away, unless it had its name before."""
        try:
            if self._encoder is not None:
                self._encoder.close()
                self._pending.place()
        finally:
            self._pending.discard()


class _Clock:
    """Tells how many frames of a video of constant rate each picture fills."""

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self._start_s: float | None = None
        self._filled = 0
        self._looked_at = 0

    def advance(self, captured_s: float) -> int:
        """Count the frames up to a capture time: 0 where the source is faster than the video.

        A gap of more than 5 seconds, such as a camera that was away, is cut to that.
        """
        if self._start_s is None:
            self._start_s = captured_s
        due = int((captured_s - self._start_s) * self.fps + 0.5) + 1 - self._filled
        longest = max(1, round(_LONGEST_HOLD_S * self.fps))
        if due > longest:
            self._start_s += (due - longest) / self.fps
            due = longest
        due = max(0, due)
        self._filled += due
        return due

    def is_new_second(self) -> bool:
        """Tell once in each second of the video, from the second one on."""
        second = int(self._filled / self.fps)
        is_new, self._looked_at = second > self._looked_at, second
        return is_new


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise UsageError(f"{path} is no video name. End it in one of {', '.join(VIDEO_SUFFIXES)}")
