"""What goes wrong in a stream and is mended: counted every time, said now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from ..telemetry import Counters, Event

_SECONDS_BETWEEN_LINES = 60.0


class Journal:
    """Counts the events of one stream. Of each kind the first is said at once, then one line a minute."""

    def __init__(
        self,
        counters: Counters,
        say: Callable[[str], None] = lambda _line: None,
        *,
        stream: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nothing said.

        Args:
            counters: get every event.
            say: prints a line; it may be called from any thread.
            stream: whose events these are.
            clock: gives seconds that never go backwards.
        """
        self._counters, self._say, self._clock = counters, say, clock
        self._stream = stream
        self._lock = Lock()
        self._due_s: dict[Event, float] = {}
        self._unsaid: dict[Event, int] = {}

    @classmethod
    def silent(cls) -> Journal:
        """Make one that nobody hears of."""
        return cls(Counters())

    def count(self, event: Event, amount: int = 1) -> None:
        """Count an event that needs no words."""
        self._counters.add(event, self._stream, amount)

    def note(self, event: Event, text: str, amount: int = 1) -> None:
        """Count an event, and say it unless one of its kind was said within the last minute."""
        self.count(event, amount)
        with self._lock:
            if self._clock() < self._due_s.get(event, 0.0):
                self._unsaid[event] = self._unsaid.get(event, 0) + amount
                return
            self._due_s[event] = self._clock() + _SECONDS_BETWEEN_LINES
            unsaid = self._unsaid.pop(event, 0)
        more = f" (and {unsaid} more since the last such line)" if unsaid else ""
        self._say(f"stream {self._stream}: {text}{more}")
