"""From what the user calls SOURCE to a source."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...errors import UsageError
from ..images import is_image
from ..journal import Journal
from .camera import camera_opener
from .child_process import ChildProcess
from .commands import Command, csi_command, ffmpeg_command, gst_command, network_command
from .image_files import ImageSource, images_in, images_of_glob
from .live import LiveSource
from .options import SourceOptions
from .pattern import PatternSource
from .source import Source
from .standard_input import open_standard_input
from .video_file import VideoSource

_NETWORK = re.compile(r"[a-z][a-z0-9+]*://")
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")


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
    if _NETWORK.match(text):
        return _open_program(public_name(text), network_command(text), options, journal)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _SCHEMES:
        return _SCHEMES[scheme](text, rest, options, journal)
    return _open_files(text, options)


def public_name(text: str) -> str:
    """Give a source's name without the password of an address."""
    return _PASSWORD.sub("", text)


def _open_files(text: str, options: SourceOptions) -> Source:
    path = Path(text)
    every, max_frames = options.every, options.max_frames
    if path.is_dir():
        return ImageSource(images_in(path), text, every=every, max_frames=max_frames)
    if path.is_file() and is_image(path):
        return ImageSource([path], text, every=every, max_frames=max_frames)
    if path.exists():
        return VideoSource(path, every=every, max_frames=max_frames)
    return ImageSource(images_of_glob(text), text, every=every, max_frames=max_frames)


def _open_program(
    name: str, command: Command, options: SourceOptions, journal: Journal, *, ends: bool = False
) -> Source:
    connect = partial(
        ChildProcess,
        command,
        name=name,
        open_timeout_s=options.open_timeout_s,
        read_timeout_s=options.read_timeout_s,
    )
    return LiveSource(name, lambda is_stopped: connect(is_stopped=is_stopped), options, journal, ends=ends)


def _open_test(text: str, _rest: str, options: SourceOptions, _journal: Journal) -> Source:
    return PatternSource(text, every=options.every, max_frames=options.max_frames)


def _open_camera(text: str, _rest: str, options: SourceOptions, journal: Journal) -> Source:
    opener = camera_opener(text)
    return LiveSource(text, lambda _is_stopped: opener(), options, journal)


def _open_csi(text: str, _rest: str, options: SourceOptions, journal: Journal) -> Source:
    return _open_program(text, csi_command(text, options.scaled_hw), options, journal)


def _open_gst(text: str, pipeline: str, options: SourceOptions, journal: Journal) -> Source:
    if not pipeline.strip():
        raise UsageError(f"{text}: expected a pipeline, such as gst:'v4l2src ! decodebin'")
    return _open_program(text, gst_command(pipeline), options, journal, ends=True)


def _open_ffmpeg(text: str, words: str, options: SourceOptions, journal: Journal) -> Source:
    if "-i " not in words:
        raise UsageError(f"{text}: expected ffmpeg's options with its input, such as ffmpeg:'-i clip.mp4'")
    return _open_program(text, ffmpeg_command(words), options, journal, ends=True)


_Opener = Callable[[str, str, SourceOptions, Journal], Source]

_SCHEMES: dict[str, _Opener] = {
    "test": _open_test,
    "camera": _open_camera,
    "csi": _open_csi,
    "gst": _open_gst,
    "ffmpeg": _open_ffmpeg,
}
