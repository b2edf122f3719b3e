"""A source that comes and goes: opened again when it breaks off, is stuck, or changes its size.

What has a length of its own, such as a clip on a web server, is read once: its end is the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from itertools import chain
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...frame import Frame
from ...images import check_size
from ...telemetry import EventLog
from .source import CapturedFrame, Connection, SourceOptions, taken_of

_WINDOW_S = 30.0  # of a capture clock
_ROW_STEP = 32
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.25, 8.0

Connect = Callable[[Callable[[], bool]], Connection]
"""Opens a connection, given what tells whether the run stops."""


class StreamClock:
    """Turns a source's timestamps into ones that go on across restarts and jumps."""

    def __init__(self) -> None:
        """Start with the source's own times."""
        self.has_jumped = False
        """Whether the last time went backwards, other than by a restart."""
        self._offset_s = 0.0
        self._last: tuple[float, float] | None = None  # timestamp as given out, arrival
        self._is_restarted = False

    def restart(self) -> None:
        """Allow the source's clock to start again; its next time follows by the time gone by."""
        self._is_restarted = True

    def time_of(self, timestamp_s: float | None, arrived_s: float) -> float | None:
        """A frame's time, in seconds, later than the one before.

        Args:
            timestamp_s: by the source's clock, if it has one.
            arrived_s: by `time.monotonic`; bridges the gap where the source's clock cannot.
        """
        self.has_jumped = False
        if timestamp_s is None:
            return None
        if self._last is not None:
            last_s, last_arrived_s = self._last
            is_backwards = timestamp_s + self._offset_s <= last_s
            self.has_jumped = is_backwards and not self._is_restarted
            if is_backwards or self._is_restarted:
                self._offset_s = last_s + (arrived_s - last_arrived_s) - timestamp_s
        self._is_restarted = False
        self._last = timestamp_s + self._offset_s, arrived_s
        return self._last[0]


class CaptureClock:
    """Tells when a frame was captured that waited in a network or a pipe, and so how old it is.

    The frame that came through fastest within the last half minute counts as not delayed; another's delay is
    what it took longer. A longer window would take the drift between two clocks for a delay.
    """

    def __init__(self) -> None:
        """Start without a frame."""
        self._window_start_s = -math.inf
        self._least_s = self._former_least_s = math.inf

    def captured_s(self, timestamp_s: float, arrived_s: float) -> float:
        """A frame's time of capture by `time.monotonic`, at most its arrival.

        Args:
            timestamp_s: by the source's clock, going on.
            arrived_s: by `time.monotonic`.
        """
        if arrived_s - self._window_start_s > _WINDOW_S:
            self._window_start_s = arrived_s
            self._former_least_s, self._least_s = self._least_s, math.inf
        self._least_s = min(self._least_s, arrived_s - timestamp_s)
        return timestamp_s + min(self._least_s, self._former_least_s)


class LiveSource:
    """Frames of one connection after another. Frames are numbered on, and their times go on, across them."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        options: SourceOptions,
        events: EventLog,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
        ends: bool | Callable[[], bool] = False,
        is_finite: bool = False,
    ) -> None:
        """Open the first connection, and wait for its first frame.

        Args:
            name: what the user calls it, without a password.
            connect: opens a connection.
            options: time-outs and limits.
            events: gets every loss and restart, frozen frames and clocks that go backwards.
            is_stopped: asked while the first connection is opened; once it says yes, that is not waited for.
            ends: whether the source is over when a connection has ended well, or what is asked then; else the
                source is opened again.
            is_finite: whether the source has some length, so that its errors are final. So it is where its
                connection says how long it lasts.

        Raises:
            InputError: it cannot be opened, or gives no frame in time.
        """
        self._name, self._connect, self._options, self._events = name, connect, options, events
        self._is_run_stopped, self._ends = is_stopped, ends
        self._stopped = Event()
        self._clock, self._capture_clock = StreamClock(), CaptureClock()
        self._connection: Connection | None = None
        self._incoming = self._open()
        connection = self._connection
        assert connection is not None
        duration_s = connection.duration_s
        self.is_live: bool = not is_finite and duration_s is None
        self.fps: float | None = None if self.is_live else connection.fps
        self.frame_count: int | None = options.max_frames
        if duration_s is not None and self.fps:
            self.frame_count = taken_of(round(duration_s * self.fps), options.every, options.max_frames)
        rate = f", {self.fps:g} fps" if self.fps else ""
        length = f", {duration_s:.4g} s" if duration_s else ""
        height, width = self._first_hw
        self.description = f"{name}, {width}x{height}{rate}{length}{', live' if self.is_live else ''}"

    def frames(self) -> Generator[Frame, None, None]:
        """Read the frames; see `Source.frames`."""
        former: NDArray[np.uint8] | None = None
        for index, captured in enumerate(self._captured_frames()):
            self._note_frozen(captured.image_bgr, former)
            former = captured.image_bgr
            if index % self._options.every == 0:
                yield self._frame(index, captured)
                if index // self._options.every + 1 == self._options.max_frames:
                    return

    def stop(self) -> None:
        """End `frames` within a fraction of a second; see `Source.stop`."""
        self._stopped.set()

    def close(self) -> None:
        """Close the current connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_stopped(self) -> bool:
        return self._stopped.is_set() or self._is_run_stopped()

    def _captured_frames(self) -> Generator[CapturedFrame, None, None]:
        while not self._stopped.is_set():
            problem = f"{self._name} has ended"
            try:
                yield from self._incoming
                if not self.is_live or (self._ends() if callable(self._ends) else self._ends):
                    return
            except InputError as error:
                if not self.is_live:
                    raise
                problem = str(error)
            if not self._stopped.is_set():
                self._events.log("lost", f"{problem}. It is opened again")
                self._reopen(problem)

    def _open(self) -> Generator[CapturedFrame, None, None]:
        """Open a connection and read its first frame, whose size may be a new one."""
        self.close()
        self._connection = self._connect(self._is_stopped)
        try:
            frames = self._connection.frames()
            first = next(frames, None)
            if first is None:
                raise InputError(f"{self._name} ended before its first frame")
            self._first_hw = first.image_bgr.shape[0], first.image_bgr.shape[1]
            check_size(self._first_hw, self._name)
        except BaseException:
            self.close()
            raise
        return _continued(first, frames)

    def _reopen(self, problem: str) -> None:
        """Try until it opens, each time after a longer wait.

        Raises:
            InputError: it has been away for longer than `give_up_s`.
        """
        lost_s, delay_s = time.monotonic(), _FIRST_DELAY_S
        while not self._stopped.wait(delay_s):
            try:
                self._incoming = self._open()
            except InputError as error:
                problem = str(error)
            else:
                away_s = time.monotonic() - lost_s
                self._clock.restart()
                self._capture_clock = CaptureClock()
                self._events.log("restarted", f"{self._name} is back after {away_s:.1f} s")
                return
            if self._options.give_up_s is not None and time.monotonic() - lost_s > self._options.give_up_s:
                raise InputError(f"{problem}. Given up after {self._options.give_up_s:g} s")
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _frame(self, index: int, captured: CapturedFrame) -> Frame:
        arrived_s = time.monotonic()
        timestamp_s = self._clock.time_of(captured.timestamp_s, arrived_s)
        if self._clock.has_jumped:
            self._events.log("clock_jumped", f"the clock of {self._name} went backwards; its times go on")
            self._capture_clock = CaptureClock()
        estimated_s = arrived_s
        if timestamp_s is not None and self.is_live:
            estimated_s = self._capture_clock.captured_s(timestamp_s, arrived_s)
        return Frame(
            index=index,
            name=f"{index:06d}",
            image_bgr=captured.image_bgr,
            captured_s=captured.captured_s or estimated_s,
            timestamp_s=timestamp_s,
        )

    def _note_frozen(self, image_bgr: NDArray[np.uint8], former: NDArray[np.uint8] | None) -> None:
        if self.is_live and former is not None and _are_same(image_bgr, former):
            self._events.log("frozen", f"{self._name} gives the same frame again and again")


def _are_same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Compare two frames, most of them by some of their rows."""
    return np.array_equal(one[::_ROW_STEP], other[::_ROW_STEP]) and np.array_equal(one, other)


def _continued(
    first: CapturedFrame, rest: Generator[CapturedFrame, None, None]
) -> Generator[CapturedFrame, None, None]:
    yield from chain([first], rest)
