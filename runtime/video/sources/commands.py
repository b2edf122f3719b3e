"""The programs that capture what OpenCV's wheel cannot: ffmpeg and gst-launch-1.0, with raw BGR out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

from ...errors import UsageError
from ...public_text import public_name
from .parameters import MOST_FPS, Parameters

Command = Callable[[int], Sequence[str]]
"""The words of a program, given the descriptor of the pipe that it writes to."""

_AUTHORITY = re.compile(r"(\[[^]]*\]|[^:\[\]]*)(:\d*)?")  # a host, and a port

_SENSOR_HW, _SENSOR_FPS = (1080, 1920), 30.0


def ffmpeg_command(options: str) -> Command:
    """Let ffmpeg write NUT, and say on stderr what it found in its input; see `ChildProcess`.

    Args:
        options: its words up to the input, as in a shell: `-f v4l2 -i /dev/video0`.
    """
    words = _split("ffmpeg", options)
    return lambda descriptor: [
        "ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", *words,
        "-map", "0:v:0", "-c:v", "rawvideo", "-pix_fmt", "bgr24",
        "-threads", "1",  # with two, FFmpeg's raw encoder holds back a frame
        "-f", "nut", "-flush_packets", "1", f"pipe:{descriptor}",
    ]  # fmt: skip


def gst_command(pipeline: str) -> Command:
    """Let gst-launch-1.0 write Matroska.

    Args:
        pipeline: its elements, without a sink.
    """
    end = "videoconvert ! video/x-raw,format=BGR ! matroskamux streamable=true ! fdsink sync=false fd="
    words = _split("gst", pipeline)
    return lambda descriptor: ["gst-launch-1.0", "-q", *words, "!", *shlex.split(f"{end}{descriptor}")]


def network_command(url: str) -> Command:
    """Let ffmpeg read a stream from the network, decoded without delay; RTSP comes through TCP.

    Raises:
        UsageError: the address has no host that can be, mostly for a mark in its password.
    """
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest)[0]
    if not _AUTHORITY.fullmatch(authority.rpartition("@")[2]):
        raise UsageError(
            f"{public_name(url)}: found no host and port. In a password, write / as %2F, ? as %3F, "
            "# as %23 and @ as %40"
        )
    scheme = scheme.lower()  # FFmpeg knows its protocols in small letters only
    transport = "-rtsp_transport tcp " if scheme.startswith("rtsp") else ""
    return ffmpeg_command(f"-threads 1 -flags low_delay {transport}-i {shlex.quote(f'{scheme}://{rest}')}")


def csi_command(text: str, scaled_hw: Callable[[tuple[int, int]], tuple[int, int]]) -> Command:
    """Let a Jetson's camera stack read a CSI camera.

    Args:
        text: such as `csi:0,width=1920,height=1080,fps=30`: the sensor, and one of its modes.
        scaled_hw: gives the size to scale to in hardware, from the mode's own, in pixels.
    """
    found = Parameters.parse(text, ("width", "height", "fps"))
    sensor = found.device()
    if isinstance(sensor, str):
        raise UsageError(f"{found.name}: expected the sensor's number, such as csi:0")
    height, width = found.size_hw(_SENSOR_HW)
    fps = found.number("fps", _SENSOR_FPS, most=MOST_FPS)
    rate = f"{round(fps * 1000)}/1000"
    out_height, out_width = scaled_hw((height, width))
    return gst_command(
        f"nvarguscamerasrc sensor-id={sensor} "
        f"! video/x-raw(memory:NVMM),width={width},height={height},framerate={rate} "
        f"! nvvidconv ! video/x-raw,format=BGRx,width={out_width},height={out_height}"
    )


def _split(scheme: str, text: str) -> list[str]:
    """Split words as a shell does.

    Raises:
        UsageError: a quotation does not end.
    """
    try:
        return shlex.split(text)
    except ValueError:
        raise UsageError(f"{scheme}: a quotation mark in its text has no second one. Add it") from None
