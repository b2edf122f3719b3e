"""From what the user calls SOURCE to a source."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from ...contract import Contract
from ...errors import InputError, UsageError
from ...images import is_image
from ...public_text import public_name, secrets_in
from ...telemetry import EventLog
from .camera import camera_opener
from .files import ImageSource, VideoSource, images_in, images_of_glob
from .live import LiveSource
from .pattern import PatternSource
from .programs import (
    ChildProcess,
    csi_command,
    ffmpeg_command,
    gst_command,
    is_file_on_server,
    network_command,
)
from .source import Source, SourceOptions
from .standard_input import open_standard_input

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LIVE = re.compile(r"(camera|csi|gst|ffmpeg):")


def open_source(
    text: str,
    options: SourceOptions | None = None,
    events: EventLog | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    scale_for: Contract | None = None,
) -> Source:
    """Open a source by its name.

    Args:
        text: a video file, a folder of images, an image, or a glob such as `shots/*.png`; `camera:0`,
            `csi:0`, `rtsp://...` or another address that ffmpeg reads, `gst:PIPELINE`, `ffmpeg:ARGS`;
            `-` or `raw:...` for stdin; `test:` for a moving pattern.
        options: limits and time-outs.
        events: gets what happens to a live source.
        is_stopped: asked while a live source is opened; once it says yes, it is not waited for.
        scale_for: network whose input size a camera may scale to, in hardware; None: frames are wanted whole.

    Raises:
        UsageError: the name's parameters cannot be.
        InputError: there is nothing there, or nothing that can be read.
        BackendError: the program that reads it is not installed.
    """
    options, events = options or SourceOptions(), events or EventLog.silent()
    if text == "-" or text.startswith("raw:"):
        return open_standard_input(text, options)
    scheme, _, rest = text.partition(":")
    if scheme == "test":
        return PatternSource(text, every=options.every, max_frames=options.max_frames)
    if _ADDRESS.match(text) and scheme.lower() == "file":
        path = rest.removeprefix("//")
        return _open_files(path if os.access(path, os.F_OK) else unquote(path), options)
    if _ADDRESS.match(text) or _LIVE.match(text):
        return _open_live(text, options, events, is_stopped, scale_for)
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


def _open_live(
    text: str,
    options: SourceOptions,
    events: EventLog,
    is_stopped: Callable[[], bool],
    scale_for: Contract | None,
) -> LiveSource:
    """Open a camera, an address or a program."""
    name = public_name(text)
    scheme, _, rest = text.partition(":")
    ends: bool | Callable[[], bool] = False
    is_finite = False
    if scheme == "camera":
        opener = camera_opener(text)
        return LiveSource(name, lambda _is_stopped: opener(), options, events, is_stopped=is_stopped)
    if scheme == "csi":
        command = csi_command(text, scale_for)
    elif scheme == "gst":
        command = gst_command(rest)
        ends, is_finite = True, re.search(r"(^|\s)filesrc\b|file:/", rest) is not None
    elif scheme == "ffmpeg":
        if "-i" not in rest.split():
            raise UsageError("ffmpeg: expected ffmpeg's options with its input, such as ffmpeg:'-i clip.mp4'")
        command, ends = ffmpeg_command(rest), True
    else:
        command, ends = network_command(text), partial(is_file_on_server, text)
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
        lambda stopped: connect(is_stopped=stopped),
        options,
        events,
        is_stopped=is_stopped,
        ends=ends,
        is_finite=is_finite,
    )
