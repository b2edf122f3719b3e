"""What each stage costs: durations, and their percentiles."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

Stage = Literal["read", "fit", "infer", "render", "write", "age"]

_KEPT_DURATIONS = 100_000  # per stage: an hour at 27 frames/s, and no more memory after that

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """How long a stage took: half, 95% and 99% of the frames were no slower."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Telemetry:
    """Durations of the stages of a pipeline. Each stage may be measured in a thread of its own."""

    def __init__(self) -> None:
        """Start with no durations."""
        self._durations_s: dict[Stage, deque[float]] = {}

    def add(self, stage: Stage, duration_s: float) -> None:
        """Note one duration, in seconds."""
        self._durations_s.setdefault(stage, deque(maxlen=_KEPT_DURATIONS)).append(duration_s)

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
        """Give p50, p95 and p99 of each stage that was measured, in the order of first use."""
        return {stage: _percentiles_of(durations_s) for stage, durations_s in self._durations_s.items()}


def _percentiles_of(durations_s: Iterable[float]) -> Percentiles:
    p50, p95, p99 = np.percentile(np.fromiter(durations_s, float), (50, 95, 99)) * 1e3
    return Percentiles(p50_ms=float(p50), p95_ms=float(p95), p99_ms=float(p99))
