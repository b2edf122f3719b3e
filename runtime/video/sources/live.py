"""A source that comes and goes: opened again when it breaks off, is stuck, or changes its size.

What has a length of its own, such as a clip on a web server, is read once: its end is the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from itertools import chain
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..frame import Frame
from ..images import check_size
from ..journal import Journal
from .options import SourceOptions
from .picture import Connection, Picture
from .source import taken_of
from .stream_clock import CaptureClock, StreamClock

_ROW_STEP = 32
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.25, 8.0

Connect = Callable[[Callable[[], bool]], Connection]
"""Opens a connection, given what tells whether the run stops."""


class LiveSource:
    """Frames of one connection after another. Frames are numbered on, and their times go on, across them."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        options: SourceOptions,
        journal: Journal,
        *,
        ends: Callable[[], bool] = lambda: False,
        is_finite: bool = False,
    ) -> None:
        """Open the first connection, and wait for its first frame.

        Args:
            name: what the user calls it, without a password.
            connect: opens a connection.
            options: time-outs and limits.
            journal: gets every loss and restart, frozen frames and clocks that go backwards.
            ends: asked when a connection has ended well: whether the source is over. Else it is opened again.
            is_finite: whether the source has some length, so that its errors are final. So it is where its
                connection says how long it lasts.

        Raises:
            InputError: it cannot be opened, or gives no frame in time.
        """
        self._name, self._connect, self._options, self._journal = name, connect, options, journal
        self._ends = ends
        self._stopped = Event()
        self._clock, self._capture_clock = StreamClock(), CaptureClock()
        self._connection: Connection | None = None
        self._pictures = self._open()
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
        for index, picture in enumerate(self._endless_pictures()):
            self._note_frozen(picture.image_bgr, former)
            former = picture.image_bgr
            if index % self._options.every == 0:
                yield self._frame(index, picture)
                if index // self._options.every + 1 == self._options.max_frames:
                    return

    def stop(self) -> None:
        """End `frames` within a fraction of a second; see `Source.stop`."""
        self._stopped.set()

    def close(self) -> None:
        """Close the connection at hand."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_stopped(self) -> bool:
        return self._stopped.is_set() or self._options.is_stopped()

    def _endless_pictures(self) -> Generator[Picture, None, None]:
        while not self._stopped.is_set():
            problem = f"{self._name} has ended"
            try:
                yield from self._pictures
                if not self.is_live or self._ends():
                    return
            except InputError as error:
                if not self.is_live:
                    raise
                problem = str(error)
            if not self._stopped.is_set():
                self._journal.note("lost", f"{problem}. It is opened again")
                self._reopen(problem)

    def _open(self) -> Generator[Picture, None, None]:
        """Open a connection and read its first frame, whose size may be a new one."""
        self.close()
        self._connection = self._connect(self._is_stopped)
        try:
            pictures = self._connection.pictures()
            first = next(pictures, None)
            if first is None:
                raise InputError(f"{self._name} ended before its first frame")
            self._first_hw = first.image_bgr.shape[0], first.image_bgr.shape[1]
            check_size(self._first_hw, self._name)
        except BaseException:
            self.close()
            raise
        return _continued(first, pictures)

    def _reopen(self, problem: str) -> None:
        """Try until it opens, each time after a longer wait.

        Raises:
            InputError: it has been away for longer than `give_up_s`.
        """
        lost_s, delay_s = time.monotonic(), _FIRST_DELAY_S
        while not self._stopped.wait(delay_s):
            try:
                self._pictures = self._open()
            except InputError as error:
                problem = str(error)
            else:
                away_s = time.monotonic() - lost_s
                self._clock.restart()
                self._capture_clock = CaptureClock()
                self._journal.note("restarted", f"{self._name} is back after {away_s:.1f} s")
                return
            if self._options.give_up_s is not None and time.monotonic() - lost_s > self._options.give_up_s:
                raise InputError(f"{problem}. Given up after {self._options.give_up_s:g} s")
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _frame(self, index: int, picture: Picture) -> Frame:
        arrived_s = time.monotonic()
        timestamp_s = self._clock.time_of(picture.timestamp_s, arrived_s)
        if self._clock.has_jumped:
            self._journal.note("clock_jumped", f"the clock of {self._name} went backwards; its times go on")
            self._capture_clock = CaptureClock()
        estimated_s = arrived_s
        if timestamp_s is not None and self.is_live:
            estimated_s = self._capture_clock.captured_s(timestamp_s, arrived_s)
        return Frame(
            index=index,
            name=f"{index:06d}",
            image_bgr=picture.image_bgr,
            captured_s=picture.captured_s or estimated_s,
            timestamp_s=timestamp_s,
        )

    def _note_frozen(self, image_bgr: NDArray[np.uint8], former: NDArray[np.uint8] | None) -> None:
        if self.is_live and former is not None and _are_same(image_bgr, former):
            self._journal.note("frozen", f"{self._name} gives the same frame again and again")


def _are_same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Compare two frames, most of them by some of their rows."""
    return np.array_equal(one[::_ROW_STEP], other[::_ROW_STEP]) and np.array_equal(one, other)


def _continued(first: Picture, rest: Generator[Picture, None, None]) -> Generator[Picture, None, None]:
    yield from chain([first], rest)
