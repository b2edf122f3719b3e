"""What each stage costs and what happens: durations, counters, and a rate-limited log of events."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Stage = Literal["read", "fit", "infer", "render", "write", "age"]
Event = Literal["captured", "done", "dropped", "late", "lost", "restarted", "frozen", "clock_jumped"]

_KEPT_DURATIONS = 65_536  # per stage: the last half hour at 30 frames/s, in memory that does not grow
_SECONDS_BETWEEN_LINES = 60.0  # of one kind of event

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """How long a stage took: half, 95% and 99% of the frames were no slower."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """All that a stage took since the start: how often, and how long in sum."""

    count: int
    sum_s: float


class Counters:
    """What happened how often, by event and stream. Any thread may add, and any may read.

    `captured`: frames that a source gave. `done`: results written. `dropped`: frames never computed, because
    newer ones had come. `late`: results older than the policy's deadline. `lost`: breaks of a source, and
    `restarted` how often it came back. `frozen`: frames the same as the one before, to the last pixel.
    `clock_jumped`: timestamps that went backwards.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = Lock()
        self._counts: Counter[tuple[Event, int]] = Counter()

    def add(self, event: Event, stream: int = 0, amount: int = 1) -> None:
        """Count an event of a stream."""
        with self._lock:
            self._counts[event, stream] += amount

    def of(self, event: Event, stream: int = 0) -> int:
        """Count of one event in one stream."""
        with self._lock:
            return self._counts[event, stream]

    def total(self, event: Event) -> int:
        """Count of one event in all streams."""
        return self.totals().get(event, 0)

    def totals(self) -> dict[Event, int]:
        """Counts of all events, streams together."""
        totals: Counter[Event] = Counter()
        for (event, _), count in self.snapshot().items():
            totals[event] += count
        return dict(totals)

    def of_stream(self, stream: int) -> dict[Event, int]:
        """Counts of all events in one stream."""
        return {event: count for (event, place), count in self.snapshot().items() if place == stream}

    def snapshot(self) -> dict[tuple[Event, int], int]:
        """All counts as they are now, by event and stream."""
        with self._lock:
            return dict(self._counts)


class Telemetry:
    """Durations of the stages of a pipeline, and its counters. Any thread may add, and any may read."""

    def __init__(self) -> None:
        """Start with no durations."""
        self.counters = Counters()
        self._lock = Lock()
        self._durations: dict[Stage, _Durations] = {}

    def add(self, stage: Stage, duration_s: float) -> None:
        """Note one duration, in seconds."""
        with self._lock:
            if stage not in self._durations:
                self._durations[stage] = _Durations()
            self._durations[stage].add(duration_s)

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Note how long the block takes, unless it raises."""
        start_s = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start_s)

    def measured(self, items: Iterable[T], stage: Stage) -> Iterator[T]:
        """Go through `items` and note how long each one takes to come."""
        iterator = iter(items)
        while True:
            start_s = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self.add(stage, time.perf_counter() - start_s)
            yield item

    def percentiles(self) -> dict[Stage, Percentiles]:
        """p50, p95 and p99 of each stage's last 65,536 durations, in the order of first use."""
        with self._lock:
            kept = {stage: durations.kept() for stage, durations in self._durations.items()}
        return {stage: _percentiles_of(durations_s) for stage, durations_s in kept.items()}

    def totals(self) -> dict[Stage, Total]:
        """Count and sum of all durations of each stage, in the order of first use."""
        with self._lock:
            return {
                stage: Total(count=durations.count, sum_s=durations.sum_s)
                for stage, durations in self._durations.items()
            }


class _Durations:
    """The last durations in a ring, and the sum of all."""

    def __init__(self) -> None:
        self.count, self.sum_s = 0, 0.0
        self._ring_s = np.full(_KEPT_DURATIONS, np.nan, np.float32)  # its pages are taken now

    def add(self, duration_s: float) -> None:
        self._ring_s[self.count % _KEPT_DURATIONS] = duration_s
        self.count += 1
        self.sum_s += duration_s

    def kept(self) -> NDArray[np.float32]:
        kept_s: NDArray[np.float32] = self._ring_s[: self.count].copy()
        return kept_s


def _percentiles_of(durations_s: NDArray[np.float32]) -> Percentiles:
    p50, p95, p99 = np.percentile(durations_s.astype(np.float64), (50, 95, 99)) * 1e3
    return Percentiles(p50_ms=float(p50), p95_ms=float(p95), p99_ms=float(p99))


class EventLog:
    """Counts the events of one stream, and prints the first of each kind, then one line a minute at most."""

    def __init__(
        self,
        counters: Counters,
        say: Callable[[str], None] = lambda _line: None,
        *,
        stream: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nothing counted.

        Args:
            counters: get every event.
            say: prints a line; it may be called from any thread.
            stream: the stream's number.
            clock: returns seconds that never go backwards.
        """
        self._counters, self._say, self._clock = counters, say, clock
        self._stream = stream
        self._lock = Lock()
        self._due_s: dict[Event, float] = {}
        self._unprinted: dict[Event, int] = {}

    @classmethod
    def silent(cls) -> EventLog:
        """A log that prints nothing, and whose counts nobody reads."""
        return cls(Counters())

    def count(self, event: Event, amount: int = 1) -> None:
        """Count an event that needs no words."""
        self._counters.add(event, self._stream, amount)

    def log(self, event: Event, text: str, amount: int = 1) -> None:
        """Count an event, and print it unless one of its kind was printed within the last minute."""
        self.count(event, amount)
        with self._lock:
            if self._clock() < self._due_s.get(event, 0.0):
                self._unprinted[event] = self._unprinted.get(event, 0) + amount
                return
            self._due_s[event] = self._clock() + _SECONDS_BETWEEN_LINES
            unprinted = self._unprinted.pop(event, 0)
        more = f" (and {unprinted} more since the last such line)" if unprinted else ""
        self._say(f"stream {self._stream}: {text}{more}")
