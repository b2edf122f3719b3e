"""Times that never go backwards, and the time of capture behind the time of arrival."""

from __future__ import annotations

import math

_WINDOW_S = 30.0


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
        """Say that the source's clock may begin anew; its next time follows by the time gone by."""
        self._is_restarted = True

    def time_of(self, timestamp_s: float | None, arrived_s: float) -> float | None:
        """Give a frame's time.

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
        """Give a frame's time of capture, at most its arrival.

        Args:
            timestamp_s: by the source's clock, going on.
            arrived_s: by `time.monotonic`.
        """
        if arrived_s - self._window_start_s > _WINDOW_S:
            self._window_start_s = arrived_s
            self._former_least_s, self._least_s = self._least_s, math.inf
        self._least_s = min(self._least_s, arrived_s - timestamp_s)
        return timestamp_s + min(self._least_s, self._former_least_s)
