"""A program that writes a stream of frames into a pipe."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from threading import Thread

from ...errors import BackendError, InputError
from .byte_reader import ByteReader
from .containers import pictures_of
from .picture import Picture

_PIPE_BYTES = 1 << 20  # the most that Linux gives without privileges; a frame then needs few system calls
_PATIENCE_S = 1.0  # with a program that was asked to end
_KEPT_LINES = 3
_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")


class ChildProcess:
    """A running program, and the frames that it writes. The program cannot outlive its reader for long."""

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        *,
        name: str,
        open_timeout_s: float,
        read_timeout_s: float,
        is_stopped: Callable[[], bool],
    ) -> None:
        """Start the program.

        Args:
            command: its words, given the descriptor that it writes to.
            name: of the stream, for errors.
            open_timeout_s: the longest wait for the first frame.
            read_timeout_s: the longest wait for each other.
            is_stopped: asked ten times a second while nothing comes.

        Raises:
            BackendError: the program is not installed.
        """
        self._name, self._read_timeout_s, self._is_stopped = name, read_timeout_s, is_stopped
        self._descriptor, writable = os.pipe()
        try:
            with suppress(OSError):  # a user with many pipes gets small ones
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._process = _start(command(writable), writable)
        except BaseException:
            os.close(self._descriptor)
            raise
        finally:
            os.close(writable)
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._reader = ByteReader(
            self._descriptor, name=name, timeout_s=open_timeout_s, is_stopped=is_stopped
        )

    def pictures(self) -> Generator[Picture, None, None]:
        """Read what the program writes; see `Connection.pictures`. It ends well with exit code 0."""
        try:
            for picture in pictures_of(self._reader):
                self._reader.timeout_s = self._read_timeout_s
                yield picture
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

    def _has_ended(self, patience_s: float) -> bool:
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _listen(self) -> None:
        """Keep the last lines of what the program says, and never let it wait for a listener."""
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._said.append(_PASSWORD.sub("", line.decode("utf-8", "replace").strip()))

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
