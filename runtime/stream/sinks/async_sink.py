"""Sinks in threads of their own: a slow disk or reader exerts no back-pressure on a live run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event, Thread

from ...errors import OutputError
from ...frame import Result
from ..bounded_queue import BoundedQueue
from .sink import Sink

_QUEUE_SIZE = 4
_POLL_S = 0.1
_TIMEOUT_S = 10.0
_TIMEOUT_WHEN_STOPPED_S = 2.0
_DISK_TIMEOUT_WHEN_STOPPED_S = 60.0  # less than the 90 s after which systemd kills


class AsyncSink:
    """Hands results to a sink in another thread, in order, through a short queue.

    For a file all results arrive: `write` waits where the sink is slow. For a live source a result that finds
    no room is left out of this sink, and counted.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        is_live: bool,
        is_stopped: Callable[[], bool] = lambda: False,
        has_reader: bool = True,
    ) -> None:
        """Start the thread, which owns the sink from now on.

        Args:
            sink: takes the results.
            is_live: leave results out where it is slow.
            is_stopped: once it says yes, a sink that is stuck is waited for no longer.
            has_reader: whether a reader, such as a pipe's, can block the sink for ever. One without is never
                stuck, however long one write takes.
        """
        self._sink, self._is_live, self._is_stopped = sink, is_live, is_stopped
        self._timeout_s = _TIMEOUT_S if has_reader else math.inf
        self._timeout_when_stopped_s = _TIMEOUT_WHEN_STOPPED_S if has_reader else _DISK_TIMEOUT_WHEN_STOPPED_S
        self.shows_pictures = sink.shows_pictures
        self.left_out = 0
        self._queue = BoundedQueue[Result](_QUEUE_SIZE)
        self._drained, self._ended = Event(), Event()
        self._failure: Exception | None = None
        self._done = 0
        Thread(target=self._work, name=f"sink {sink.description}", daemon=True).start()

    @property
    def description(self) -> str:
        """What is written where, and how much was left out."""
        if not self.left_out:
            return self._sink.description
        return f"{self._sink.description} ({self.left_out} results left out: it was too slow for them)"

    def write(self, result: Result) -> None:
        """Queue a result with a copy of its picture.

        Raises:
            OutputError: the sink has failed, at this result or one before it.
            SinkClosedError: nobody wants more.
        """
        self._raise_failure()
        if self._is_live and self._queue.is_full:
            self.left_out += 1
            return
        kept = replace(result, picture_bgr=result.picture_bgr.copy()) if self.shows_pictures else result
        stall = _StallTimer(self._done)
        while not self._queue.put(kept, timeout_s=_POLL_S):
            self._raise_failure()
            is_stuck = stall.seconds(self._done) > self._timeout_when_stopped_s
            if self._queue.is_closed or (self._is_stopped() and is_stuck):
                return

    def close(self) -> None:
        """Wait until what was queued is written, and close the sink.

        Where the run was stopped, a sink that is stuck, such as a pipe that nobody reads, is left soon.

        Raises:
            OutputError: the sink failed, or is stuck.
        """
        self._queue.finish()
        stall = _StallTimer(self._done)
        while not self._ended.wait(_POLL_S):
            stuck_s = stall.seconds(self._done)
            is_over = stuck_s > self._timeout_when_stopped_s
            if self._is_stopped() and not self._drained.is_set() and is_over:
                return
            if stuck_s > self._timeout_s:
                raise OutputError(f"{self.description} has taken nothing for {_TIMEOUT_S:.0f} s: given up")
        self._raise_failure()

    def _work(self) -> None:
        try:
            for result in self._queue:
                self._sink.write(result)
                self._done += 1
        except Exception as error:
            self._failure = error
        self._queue.close()
        self._drained.set()
        try:
            self._sink.close()
        except Exception as error:
            self._failure = self._failure or error
        self._ended.set()

    def _raise_failure(self) -> None:
        """Raise what ended the thread, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class _StallTimer:
    """Measures how long a count has stood still."""

    def __init__(self, count: int) -> None:
        self._count, self._since_s = count, time.monotonic()

    def seconds(self, count: int) -> float:
        """Seconds since the count last changed."""
        if count != self._count:
            self._count, self._since_s = count, time.monotonic()
        return time.monotonic() - self._since_s
