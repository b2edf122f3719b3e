"""The programs that capture what OpenCV's wheel cannot: ffmpeg and gst-launch-1.0, with raw BGR out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from .parameters import Parameters

Command = Callable[[int], Sequence[str]]
"""The words of a program, given the descriptor of the pipe that it writes to."""

_SENSOR_HW, _SENSOR_FPS = (1080, 1920), 30.0


def ffmpeg_command(options: str) -> Command:
    """Let ffmpeg write NUT.

    Args:
        options: its words up to the input, as in a shell: `-f v4l2 -i /dev/video0`.
    """
    words = shlex.split(options)
    return lambda descriptor: [
        "ffmpeg", "-nostdin", "-loglevel", "error", *words,
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
    return lambda descriptor: ["gst-launch-1.0", "-q", *shlex.split(f"{pipeline} ! {end}{descriptor}")]


def network_command(url: str) -> Command:
    """Let ffmpeg read a stream from the network, decoded without delay; RTSP comes through TCP."""
    transport = "-rtsp_transport tcp " if url.startswith("rtsp") else ""
    return ffmpeg_command(f"-threads 1 -flags low_delay {transport}-i {shlex.quote(url)}")


def csi_command(text: str, scaled_hw: Callable[[tuple[int, int]], tuple[int, int]]) -> Command:
    """Let a Jetson's camera stack read a CSI camera.

    Args:
        text: such as `csi:0,width=1920,height=1080,fps=30`: the sensor, and one of its modes.
        scaled_hw: gives the size to scale to in hardware, from the mode's own, in pixels.
    """
    found = Parameters.parse(text, ("width", "height", "fps"))
    height, width = found.size_hw(_SENSOR_HW)
    rate = f"{round(found.number('fps', _SENSOR_FPS) * 1000)}/1000"
    out_height, out_width = scaled_hw((height, width))
    return gst_command(
        f"nvarguscamerasrc sensor-id={int(found.subject or 0)} "
        f"! video/x-raw(memory:NVMM),width={width},height={height},framerate={rate} "
        f"! nvvidconv ! video/x-raw,format=BGRx,width={out_width},height={out_height}"
    )
