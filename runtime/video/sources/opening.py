"""From what the user calls SOURCE to a source."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from ...errors import InputError, UsageError
from ...public_text import public_name, secrets_in
from ..images import is_image
from ..journal import Journal
from .camera import camera_opener
from .child_process import ChildProcess
from .commands import Command, csi_command, ffmpeg_command, gst_command, network_command
from .http_file import is_file_on_server
from .image_files import ImageSource, images_in, images_of_glob
from .live import LiveSource
from .options import SourceOptions
from .pattern import PatternSource
from .source import Source
from .standard_input import open_standard_input
from .video_file import VideoSource

_NETWORK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def open_source(text: str, options: SourceOptions | None = None, journal: Journal | None = None) -> Source:
    """Open a source by its name.

    Args:
        text: a video file, a folder of images, an image, or a glob such as `shots/*.png`; `camera:0`,
            `csi:0`, `rtsp://...` or another address that ffmpeg reads, `gst:PIPELINE`, `ffmpeg:ARGS`;
            `-` or `raw:...` for stdin; `test:` for a moving pattern.
        options: limits and time-outs.
        journal: gets what happens to a live source.

    Raises:
        UsageError: the name's parameters cannot be.
        InputError: there is nothing there, or nothing that can be read.
        BackendError: the program that reads it is not installed.
    """
    options, journal = options or SourceOptions(), journal or Journal.silent()
    if text == "-" or text.startswith("raw:"):
        return open_standard_input(text, options)
    scheme, colon, rest = text.partition(":")
    if _NETWORK.match(text):
        if scheme.lower() == "file":
            path = rest.removeprefix("//")
            return _open_files(path if os.access(path, os.F_OK) else unquote(path), options)
        ends = partial(is_file_on_server, text)
        return _open_program(text, network_command(text), options, journal, ends=ends)
    if colon and scheme in _SCHEMES:
        return _SCHEMES[scheme](text, rest, options, journal)
    return _open_files(text, options)


def _open_files(text: str, options: SourceOptions) -> Source:
    if not text:
        raise UsageError("SOURCE is empty. Give a video file, a folder of images or a camera")
    path, name = Path(text), public_name(text)
    every, max_frames = options.every, options.max_frames
    try:
        if path.is_dir():
            return ImageSource(images_in(path), name, every=every, max_frames=max_frames)
        if path.exists():
            _check_regular(path)
            if is_image(path):
                return ImageSource([path], name, every=every, max_frames=max_frames)
            return VideoSource(path, every=every, max_frames=max_frames)
        return ImageSource(images_of_glob(text), name, every=every, max_frames=max_frames)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from error


def _check_regular(path: Path) -> None:
    """Refuse what would be waited for without end: a video is read from its start and from its end.

    Raises:
        UsageError: it is a device, a FIFO or a socket.
    """
    mode, name = path.stat().st_mode, public_name(str(path))
    if stat.S_ISCHR(mode) and path.name.startswith("video"):
        raise UsageError(f"{name} is a camera: give it as camera:{name}")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{name} is no regular file. Give - as SOURCE, and pipe it into stdin")


def _open_program(
    text: str,
    command: Command,
    options: SourceOptions,
    journal: Journal,
    *,
    ends: Callable[[], bool] = lambda: False,
    is_finite: bool = False,
) -> Source:
    name = public_name(text)
    connect = partial(
        ChildProcess,
        command,
        name=name,
        secrets=secrets_in(text),
        open_timeout_s=options.open_timeout_s,
        read_timeout_s=options.read_timeout_s,
    )
    return LiveSource(
        name,
        lambda is_stopped: connect(is_stopped=is_stopped),
        options,
        journal,
        ends=ends,
        is_finite=is_finite,
    )


def _open_test(text: str, _rest: str, options: SourceOptions, _journal: Journal) -> Source:
    return PatternSource(text, every=options.every, max_frames=options.max_frames)


def _open_camera(text: str, _rest: str, options: SourceOptions, journal: Journal) -> Source:
    opener = camera_opener(text)
    return LiveSource(public_name(text), lambda _is_stopped: opener(), options, journal)


def _open_csi(text: str, _rest: str, options: SourceOptions, journal: Journal) -> Source:
    return _open_program(text, csi_command(text, options.scaled_hw), options, journal)


def _open_gst(text: str, pipeline: str, options: SourceOptions, journal: Journal) -> Source:
    if not pipeline.strip():
        raise UsageError("gst: expected a pipeline, such as gst:'v4l2src ! decodebin'")
    reads_file = re.search(r"(^|\s)filesrc\b|file:/", pipeline) is not None
    command = gst_command(pipeline)
    return _open_program(text, command, options, journal, ends=lambda: True, is_finite=reads_file)


def _open_ffmpeg(text: str, words: str, options: SourceOptions, journal: Journal) -> Source:
    if "-i" not in words.split():
        raise UsageError("ffmpeg: expected ffmpeg's options with its input, such as ffmpeg:'-i clip.mp4'")
    return _open_program(text, ffmpeg_command(words), options, journal, ends=lambda: True)


_Opener = Callable[[str, str, SourceOptions, Journal], Source]

_SCHEMES: dict[str, _Opener] = {
    "test": _open_test,
    "camera": _open_camera,
    "csi": _open_csi,
    "gst": _open_gst,
    "ffmpeg": _open_ffmpeg,
}
