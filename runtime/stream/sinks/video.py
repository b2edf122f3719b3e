"""Videos of the pictures: whole when a run ends, or playable at every moment of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...artifact import PendingFile, unwritable
from ...errors import OutputError, UsageError
from ...fit import fit_frame, size_hw_of
from ...frame import Result
from ...opencv import silence
from .sink import write_all

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


_CODEC = "mp4v"  # MPEG-4 Part 2: the one that OpenCV's wheels can always encode
_LEAST_FREE_BYTES = 1 << 20
_FFMPEG_ENCODERS = {  # in the order of choice; cheapest presets: a live run's cores are the engine's
    "libx264": ("-preset", "ultrafast", "-crf", "23"),
    "mpeg4": ("-q:v", "4"),
}
_FRAGMENTED = ("-movflags", "+frag_keyframe+empty_moov+default_base_moof")
_CONTAINERS = {".mp4": _FRAGMENTED, ".mov": _FRAGMENTED, ".mkv": ("-cluster_time_limit", "1000"), ".avi": ()}
_CLOSING_S = 10.0
_PROBED_BYTES = 1 << 16


class OpenCvEncoder:
    """OpenCV's encoder. It does not say when a disk is full: that is looked at here."""

    def __init__(self, path: Path, *, fps: float, size_hw: tuple[int, int]) -> None:
        """Open the file.

        Raises:
            OutputError: OpenCV cannot write such a video.
        """
        silence()
        height, width = size_hw
        self._path, self._fps, self._count = path, fps, 0
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*_CODEC), fps, (width, height))
        if not self._writer.isOpened():
            probe_space(path)
            raise OutputError(f"OpenCV cannot write {width}x{height} video to {path.suffix}. Try .mp4")

    def write(self, picture_bgr: NDArray[np.uint8]) -> None:
        """Append a picture, (H, W, 3).

        Raises:
            OutputError: the disk is full.
        """
        self._writer.write(picture_bgr)
        self._count += 1
        if self._count % max(1, round(self._fps)) == 0:
            check_space(self._path)

    def close(self) -> None:
        """Write what is left.

        Raises:
            OutputError: it cannot be written.
        """
        self._writer.release()
        if self._count and not is_playable(self._path):
            raise OutputError("the video could not be finished: its disk is full, or has a limit")


class FfmpegEncoder:
    """An `ffmpeg` process that writes a fragment each second: what is on disk can always be played.

    It has a session of its own, so that Ctrl-C reaches it as the end of its input.
    """

    def __init__(self, path: Path, *, fps: float, size_hw: tuple[int, int]) -> None:
        """Start the process; `path` may be renamed while it writes."""
        height, width = size_hw
        codec = _best_encoder()
        source = ("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", f"{fps:g}")
        encoding = ("-c:v", codec, *_FFMPEG_ENCODERS[codec], "-threads", "1", "-g", f"{max(1, round(fps))}")
        even = ("-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p")
        container = _CONTAINERS[path.suffix.lower()]
        command = ["ffmpeg", "-v", "error", "-y", *source, "-i", "pipe:0", *encoding, *even, *container]
        self._messages = _nameless_file()
        self._process = subprocess.Popen(
            [*command, "-flush_packets", "1", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            bufsize=0,
            start_new_session=True,
        )

    def write(self, picture_bgr: NDArray[np.uint8]) -> None:
        """Append a picture, (H, W, 3).

        Raises:
            OutputError: ffmpeg has given up, as on a full disk.
        """
        assert self._process.stdin is not None
        try:
            write_all(self._process.stdin.fileno(), picture_bgr)
        except BrokenPipeError:
            raise OutputError(f"ffmpeg gave up: {self._last_message()}") from None

    def close(self) -> None:
        """End ffmpeg's input and wait until it has written what is left.

        Raises:
            OutputError: it failed, or did not end.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._wait()
        message = self._last_message()
        os.close(self._messages)
        if code:
            raise OutputError(f"ffmpeg ended with code {code}: {message}")

    def _wait(self) -> int:
        """Wait until ffmpeg ends; one that has computed nothing for ten seconds is killed."""
        spent = -1
        while (now_spent := _cpu_ticks(self._process.pid)) != spent:
            spent = now_spent
            try:
                return self._process.wait(_CLOSING_S)
            except subprocess.TimeoutExpired:
                continue
        self._process.kill()
        return self._process.wait()

    def _last_message(self) -> str:
        """Last line that ffmpeg wrote about what went wrong."""
        lines = os.pread(self._messages, 1 << 16, 0).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")


def _nameless_file() -> int:
    """Open a file that is gone when it is closed, and give its descriptor; on Linux it needs no disk.

    Raises:
        OutputError: there is no place for temporary files.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create("messages of ffmpeg")
    try:
        descriptor, name = tempfile.mkstemp()
    except OSError as error:
        raise unwritable(Path(tempfile.gettempdir()), error) from error
    Path(name).unlink()
    return descriptor


def _cpu_ticks(process: int) -> int:
    """How much a child has computed, in ticks of the kernel's clock; 0 where that is not told."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    user, system = fields.rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def has_ffmpeg() -> bool:
    """Tell whether an `ffmpeg` is installed, and learn what it can, before the first picture comes."""
    return shutil.which("ffmpeg") is not None and bool(_best_encoder())


@cache
def _best_encoder() -> str:
    """Ask ffmpeg which encoders it was built with; mpeg4 is in all of them."""
    command = ["ffmpeg", "-hide_banner", "-encoders"]
    known = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return next((name for name in _FFMPEG_ENCODERS if name in known), "mpeg4")


def is_playable(path: Path) -> bool:
    """Tell whether a video has a picture that can be decoded now."""
    capture = cv2.VideoCapture(str(path))
    try:
        return capture.isOpened() and capture.grab()
    finally:
        capture.release()


def probe_space(path: Path) -> None:
    """Find out by writing whether a file can be written at all; OpenCV does not say why it cannot.

    Raises:
        OutputError: it cannot.
    """
    try:
        with path.open("wb", buffering=0) as file:
            file.write(bytes(_PROBED_BYTES))
        path.write_bytes(b"")
    except OSError as error:
        raise unwritable(path.parent, error) from error


def check_space(path: Path) -> None:
    """Find out whether there is room left where a file is being written.

    Raises:
        OutputError: there is not.
    """
    if shutil.disk_usage(path.parent).free < _LEAST_FREE_BYTES:
        raise OutputError(
            f"no space left on {path.parent}. Make room there; what was written before can be used"
        )
