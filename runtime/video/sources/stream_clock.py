"""Times that never go backwards, whatever a source's clock does."""

from __future__ import annotations


class StreamClock:
    """Turns a source's timestamps into ones that go on across restarts and jumps."""

    def __init__(self) -> None:
        """Start with the source's own times."""
        self.has_jumped = False
        """Whether the last time went backwards, other than by a restart."""
        self._offset_s = 0.0
        self._last: tuple[float, float] | None = None  # timestamp as given out, captured
        self._is_restarted = False

    def restart(self) -> None:
        """Say that the source's clock may begin anew; its next time follows by the time gone by."""
        self._is_restarted = True

    def time_of(self, timestamp_s: float | None, captured_s: float) -> float | None:
        """Give a frame's time.

        Args:
            timestamp_s: by the source's clock, if it has one.
            captured_s: by `time.monotonic`; bridges the gap where the source's clock cannot.
        """
        self.has_jumped = False
        if timestamp_s is None:
            return None
        if self._last is not None:
            last_s, last_captured_s = self._last
            is_backwards = timestamp_s + self._offset_s <= last_s
            self.has_jumped = is_backwards and not self._is_restarted
            if is_backwards or self._is_restarted:
                self._offset_s = last_s + (captured_s - last_captured_s) - timestamp_s
        self._is_restarted = False
        self._last = timestamp_s + self._offset_s, captured_s
        return self._last[0]
