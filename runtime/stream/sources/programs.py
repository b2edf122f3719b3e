"""Sources behind programs: the words for ffmpeg and gst-launch-1.0, and a child process that writes frames.

They capture what OpenCV's wheel cannot.
A program that hangs is killed, and the run goes on without one that crashes.
"""

from __future__ import annotations

import base64
import fcntl
import http.client
import os
import re
import shlex
import signal
import ssl
import subprocess
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from threading import Event, Thread
from urllib.parse import unquote, urlsplit

from ...contract import Contract
from ...errors import BackendError, InputError, UsageError
from ...public_text import public_name, redact
from .containers import container_frames
from .raw_frames import ByteReader
from .source import MOST_FPS, CapturedFrame, Parameters, scaled_hw

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
    if not words:
        raise UsageError("gst: expected a pipeline, such as gst:'v4l2src ! decodebin'")
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


def csi_command(text: str, scale_for: Contract | None) -> Command:
    """Let a Jetson's camera stack read a CSI camera.

    Args:
        text: such as `csi:0,width=1920,height=1080,fps=30`: the sensor, and one of its modes.
        scale_for: network whose input size the camera scales to, in hardware; None: frames are wanted whole.
    """
    found = Parameters.parse(text, ("width", "height", "fps"))
    sensor = found.device()
    if isinstance(sensor, str):
        raise UsageError(f"{found.name}: expected the sensor's number, such as csi:0")
    height, width = found.size_hw(_SENSOR_HW)
    fps = found.number("fps", _SENSOR_FPS, most=MOST_FPS)
    rate = f"{round(fps * 1000)}/1000"
    out_height, out_width = scaled_hw((height, width), scale_for)
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


_PIPE_BYTES = 1 << 20  # the most that Linux gives without privileges; a frame then needs few system calls
_PATIENCE_S = 1.0  # with a program that was asked to end
_KEPT_LINES = 3
_HEAD_PATIENCE_S = 0.5  # with a program's words about its input, when its first frame is here already

# What ffmpeg says with -loglevel level+info: `[h264 @ 0x55d0] [error] words`.
_SAID = re.compile(r"(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(?P<level>[a-z]+)\] (?P<words>.*)")
_DURATION = re.compile(r"\s+Duration: (\d+):(\d\d):(\d\d\.\d+)")
_FPS = re.compile(r"\s+Stream #.*: Video: .* (\d+(?:\.\d+)?) fps\b")
_BREAKS_OFF = re.compile(r"ends prematurely|partial file|Input/output error$")
_LONGEST_S = 7 * 24 * 3600.0  # some cameras announce a length of years
_HEAD_ENDS = "Output #0"
_QUIET_LEVELS = frozenset({"info", "warning", "verbose", "debug", "trace"})


class ChildProcess:
    """A running program, and the frames that it writes. The program cannot outlive its reader for long.

    ffmpeg says on stderr how long its input lasts. What has a length ends by itself, such as a clip on a web
    server; what has none is live. A clip that a program is told to read at its own pace counts as live.
    """

    duration_s: float | None = None
    fps: float | None = None

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        *,
        name: str,
        secrets: Collection[str],
        open_timeout_s: float,
        read_timeout_s: float,
        is_stopped: Callable[[], bool],
    ) -> None:
        """Start the program.

        Args:
            command: its words, given the descriptor that it writes to.
            name: of the stream, for errors.
            secrets: words that are left out of what the program says.
            open_timeout_s: the longest wait for the first frame.
            read_timeout_s: the longest wait for each other.
            is_stopped: asked ten times a second while nothing comes.

        Raises:
            BackendError: the program is not installed.
        """
        self._name, self._read_timeout_s, self._is_stopped = name, read_timeout_s, is_stopped
        self._secrets = secrets
        self._descriptor, writable = os.pipe()
        try:
            with suppress(OSError):  # a user with many pipes gets small ones
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            words = command(writable)
            self._is_paced = "-re" in words or "-readrate" in words
            self._process = _start(words, writable)
        except BaseException:
            os.close(self._descriptor)
            raise
        finally:
            os.close(writable)
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._breaks_off, self._last_s = False, 0.0
        self._head_ended = Event()
        if words[0] != "ffmpeg":
            self._head_ended.set()
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._reader = ByteReader(
            self._descriptor, name=name, timeout_s=open_timeout_s, is_stopped=is_stopped
        )

    def frames(self) -> Generator[CapturedFrame, None, None]:
        """Read what the program writes; see `Connection.frames`. It ends well with exit code 0."""
        try:
            for captured in container_frames(self._reader):
                self._reader.timeout_s = self._read_timeout_s
                self._head_ended.wait(_HEAD_PATIENCE_S)
                self._head_ended.set()
                self._last_s = captured.timestamp_s or self._last_s
                yield captured
        except InputError as error:
            raise InputError(f"{error}{self._reason()}") from error
        if not self._is_stopped():
            self._check_exit()

    def close(self) -> None:
        """End the program: its pipe, then a request, then by force."""
        os.close(self._descriptor)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._has_ended(0 if number == signal.SIGTERM else _PATIENCE_S):
                break
            os.killpg(self._process.pid, number)
        self._process.wait()
        self._listener.join()

    def _check_exit(self) -> None:
        if not self._has_ended(_PATIENCE_S):
            raise InputError(f"{self._name} closed its stream, but its program goes on{self._reason()}")
        if self._process.returncode:
            code = self._process.returncode
            raise InputError(f"{self._name}: its program ended with code {code}{self._reason()}")
        self._listener.join(_PATIENCE_S)
        if self._breaks_off and not self._is_complete():  # ffmpeg takes what it gets, and ends with code 0
            raise InputError(f"{self._name} breaks off: it is cut off or damaged{self._reason()}")

    def _is_complete(self) -> bool:
        """Tell whether frames came until the end that was announced."""
        if self.duration_s is None:
            return False
        missing_s = self.duration_s - self._last_s - 1 / (self.fps or 1.0)
        return missing_s <= max(0.1 * self.duration_s, 0.5)

    def _has_ended(self, patience_s: float) -> bool:
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _listen(self) -> None:
        """Keep the last errors that the program says, and never let it wait for a listener."""
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._hear(line.decode("utf-8", "replace").rstrip())
        self._head_ended.set()

    def _hear(self, line: str) -> None:
        found = _SAID.fullmatch(line)
        words = found["words"] if found else line
        if not self._head_ended.is_set():
            self._learn(words)
        if found is None or found["level"] not in _QUIET_LEVELS:
            self._breaks_off |= _BREAKS_OFF.search(words) is not None
            self._said.append(redact(words.strip(), self._secrets))

    def _learn(self, words: str) -> None:
        """Learn from ffmpeg's words about its first input."""
        if self.duration_s is None and not self._is_paced and (found := _DURATION.match(words)):
            duration_s = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
            self.duration_s = duration_s if duration_s < _LONGEST_S else None
        elif self.fps is None and (found := _FPS.match(words)):
            self.fps = float(found[1])
        if words.startswith(_HEAD_ENDS):
            self._head_ended.set()

    def _reason(self) -> str:
        if self._has_ended(0.2):
            self._listener.join(0.2)
        said = " | ".join(line for line in list(self._said) if line)
        return f". It said: {said}" if said else ""


def _start(command: Sequence[str], writable: int) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own: Ctrl-C reaches us, and we end it."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[writable],
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise BackendError(
            f"{command[0]} is not installed, which this source needs. Add it: "
            f"apt-get install {_PACKAGES.get(command[0], command[0])}"
        ) from error


_PACKAGES = {"gst-launch-1.0": "gstreamer1.0-tools gstreamer1.0-plugins-good"}


_SERVER_PATIENCE_S = 3.0
_STREAMS = re.compile(r"(?i)mpegurl|dash\+xml|multipart/|\.(m3u8?|mpd)$")


def is_file_on_server(url: str) -> bool:
    """Ask a web server whether what has just ended is a file: it has a length and is no playlist.

    FFmpeg tells the duration of most clips, but not of elementary streams, MPEG-TS or single images.

    Args:
        url: any address; only those of http and https are asked.
    """
    with suppress(OSError, ValueError, http.client.HTTPException):
        return _is_file(url)
    return False


def _is_file(url: str) -> bool:
    found = urlsplit(url)
    if found.scheme not in ("http", "https") or found.hostname is None or _STREAMS.search(found.path):
        return False
    connection = http.client.HTTPConnection(found.hostname, found.port or 80, timeout=_SERVER_PATIENCE_S)
    if found.scheme == "https":
        unverified = ssl._create_unverified_context()  # as FFmpeg does by default
        connection = http.client.HTTPSConnection(
            found.hostname, found.port or 443, timeout=_SERVER_PATIENCE_S, context=unverified
        )
    headers = {}
    if found.username is not None:
        login = f"{unquote(found.username)}:{unquote(found.password or '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(login).decode('ascii')}"
    try:
        connection.request("GET", f"{found.path or '/'}?{found.query}".rstrip("?"), headers=headers)
        response = connection.getresponse()
        length, kind = response.getheader("Content-Length"), response.getheader("Content-Type") or ""
        return response.status == http.client.OK and bool(length) and not _STREAMS.search(kind)
    finally:
        connection.close()
