"""Sinks in threads of their own: a slow disk or reader does not hold up the maps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, Full, Queue
from threading import Event, Thread

from ...errors import OutputError
from ...frame import Result
from .sink import Sink

_QUEUE_SIZE = 4
_POLL_S = 0.1
_PATIENCE_S = 10.0
_PATIENCE_WHEN_STOPPED_S = 2.0
_PATIENCE_WITH_A_DISK_S = 60.0  # when stopped; less than the 90 s after which systemd kills


class Behind:
    """Hands results to a sink in another thread, in order, a few at most on the way.

    For a file all results arrive: `write` waits where the sink is slow. For a live source a result that finds
    no room is left out of this sink, and counted.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        live: bool,
        is_stopped: Callable[[], bool] = lambda: False,
        has_reader: bool = True,
    ) -> None:
        """Start the thread; the sink is its own from now on.

        Args:
            sink: what takes the results.
            live: leave results out where it is slow.
            is_stopped: once it says yes, a sink that is stuck is waited for no longer.
            has_reader: whether a reader, such as a pipe's, can hold the sink up for ever. One without is
                never stuck, however long one write takes.
        """
        self._sink, self._live, self._is_stopped = sink, live, is_stopped
        self._patience_s = _PATIENCE_S if has_reader else math.inf
        self._patience_when_stopped_s = _PATIENCE_WHEN_STOPPED_S if has_reader else _PATIENCE_WITH_A_DISK_S
        self.shows_pictures = sink.shows_pictures
        self.left_out = 0
        self._queue: Queue[Result] = Queue(_QUEUE_SIZE)
        self._closing, self._drained, self._ended = Event(), Event(), Event()
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
        if self._live and self._queue.full():
            self.left_out += 1
            return
        kept = replace(result, picture_bgr=result.picture_bgr.copy()) if self.shows_pictures else result
        progress = _Progress(self._done)
        while not self._is_put(kept):
            self._raise_failure()
            if self._is_stopped() and progress.stuck_s(self._done) > self._patience_when_stopped_s:
                return

    def close(self) -> None:
        """Wait until what was queued is written, and close the sink.

        Where the run was stopped, a sink that is stuck, such as a pipe that nobody reads, is left soon.

        Raises:
            OutputError: the sink failed, or is stuck.
        """
        self._closing.set()
        progress = _Progress(self._done)
        while not self._ended.wait(_POLL_S):
            stuck_s = progress.stuck_s(self._done)
            is_past_patience = stuck_s > self._patience_when_stopped_s
            if self._is_stopped() and not self._drained.is_set() and is_past_patience:
                return
            if stuck_s > self._patience_s:
                raise OutputError(f"{self.description} has taken nothing for {_PATIENCE_S:.0f} s: given up")
        self._raise_failure()

    def _is_put(self, result: Result) -> bool:
        try:
            self._queue.put(result, timeout=_POLL_S)
        except Full:
            return False
        return True

    def _work(self) -> None:
        try:
            self._write_all()
        except Exception as error:
            self._failure = error
        self._drained.set()
        try:
            self._sink.close()
        except Exception as error:
            self._failure = self._failure or error
        self._ended.set()

    def _write_all(self) -> None:
        while True:
            try:
                result = self._queue.get(timeout=_POLL_S)
            except Empty:
                if self._closing.is_set():
                    return
                continue
            self._sink.write(result)
            self._done += 1

    def _raise_failure(self) -> None:
        """Raise what ended the thread, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class _Progress:
    """Tells for how long a count has stood still."""

    def __init__(self, count: int) -> None:
        self._count, self._since_s = count, time.monotonic()

    def stuck_s(self, count: int) -> float:
        """Give the seconds since the count last changed."""
        if count != self._count:
            self._count, self._since_s = count, time.monotonic()
        return time.monotonic() - self._since_s
