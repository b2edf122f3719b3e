"""Whether results come, and how fast."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from threading import Lock

from ..video.frame import Result

_RATE_OVER_S = 2.0
_MOST_TIMES = 1000


class Pulse:
    """Notes when results came. Any thread may note, and any may read."""

    def __init__(self, stale_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without results.

        Args:
            stale_s: after so long without one the run is not healthy.
            clock: gives seconds that never go backwards.
        """
        self._stale_s, self._clock, self._lock = stale_s, clock, Lock()
        self._times_s: dict[int, deque[float]] = {}
        self._dropped: Counter[int] = Counter()
        self._last_s: float | None = None
        self._start_s = clock()
        self.results = 0

    @property
    def streams(self) -> int:
        """How many streams have had a result."""
        return len(self._times_s)

    def note(self, result: Result) -> None:
        """Note a result that has come now."""
        stream, now_s = result.saliency.frame.stream, self._clock()
        with self._lock:
            times_s = self._times_s.setdefault(stream, deque(maxlen=_MOST_TIMES))
            times_s.append(now_s)
            while times_s[0] < now_s - _RATE_OVER_S:
                times_s.popleft()
            self._dropped[stream] += result.saliency.dropped
            self._last_s, self.results = now_s, self.results + 1

    def rate_fps(self, stream: int) -> float:
        """Give a stream's results per second over the last two seconds; 0 where there is but one."""
        with self._lock:
            times_s = self._times_s.get(stream, deque())
            lasted_s = times_s[-1] - times_s[0] if times_s else 0.0
            return (len(times_s) - 1) / lasted_s if lasted_s else 0.0

    def dropped(self, stream: int) -> int:
        """Give how many frames of a stream were dropped since the start."""
        with self._lock:
            return self._dropped[stream]

    def health(self) -> tuple[bool, dict[str, object]]:
        """Tell whether results come, and since when not.

        Returns:
            Whether the run is healthy, and what there is to say about it.
        """
        now_s = self._clock()
        silent_s = now_s - (self._start_s if self._last_s is None else self._last_s)
        is_well = self._last_s is not None and silent_s <= self._stale_s
        status = "ok" if is_well else "waiting for the first result" if self._last_s is None else "stale"
        return is_well, {"status": status, "results": self.results, "silent_s": round(silent_s, 3)}
