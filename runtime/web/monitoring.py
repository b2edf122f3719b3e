"""Health and metrics of a run: whether results come and how fast, and the run in numbers for Prometheus."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from threading import Lock

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..frame import Result
from ..telemetry import Telemetry

_AGE_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_RATE_OVER_S = 2.0
_MOST_TIMES = 1000


class HealthMonitor:
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
        """A stream's results per second over the last two seconds; 0 where there is but one."""
        with self._lock:
            times_s = self._times_s.get(stream, deque())
            lasted_s = times_s[-1] - times_s[0] if times_s else 0.0
            return (len(times_s) - 1) / lasted_s if lasted_s else 0.0

    def dropped(self, stream: int) -> int:
        """Frames of a stream that were dropped since the start."""
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


class Metrics:
    """Counts of what happened, durations of the stages, ages of the results, and what the process uses."""

    def __init__(self, telemetry: Telemetry, browsers: Callable[[], int]) -> None:
        """Make a registry of its own.

        Args:
            telemetry: of the run, read at each scrape.
            browsers: how many look on.
        """
        self._registry = CollectorRegistry()
        self._ages = Histogram(
            "saliency_result_age_seconds",
            "From a frame's capture until its result.",
            ["stream"],
            buckets=_AGE_BUCKETS_S,
            registry=None,
        )
        self._registry.register(_RunCollector(telemetry, self._ages, browsers))
        ProcessCollector(registry=self._registry)

    def note(self, result: Result) -> None:
        """Count a result's age."""
        self._ages.labels(str(result.saliency.frame.stream)).observe(result.age_s)

    def to_text(self, accept: str = "") -> tuple[bytes, str]:
        """Write all of it as text.

        Args:
            accept: the request's header of that name. Prometheus asks for OpenMetrics by it.

        Returns:
            The text, in OpenMetrics where that is asked for, else in Prometheus's own format, and its type.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type


class _RunCollector(Collector):
    """Reads the run's own counters when it is asked."""

    def __init__(self, telemetry: Telemetry, ages: Histogram, browsers: Callable[[], int]) -> None:
        self._telemetry, self._ages, self._browsers = telemetry, ages, browsers

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        for ages in self._ages.collect():
            # In Prometheus's format the time of creation would be a family of its own, with a name that
            # OpenMetrics reserves for the histogram: parsers of OpenMetrics refuse it.
            ages.samples = [sample for sample in ages.samples if not sample.name.endswith("_created")]
            yield ages
        events = CounterMetricFamily(
            "saliency_events", "What happened how often.", labels=["event", "stream"]
        )
        for (event, stream), count in self._telemetry.counters.snapshot().items():
            events.add_metric([event, str(stream)], count)
        yield events
        stages = SummaryMetricFamily("saliency_stage_seconds", "What each stage took.", labels=["stage"])
        for stage, total in self._telemetry.totals().items():
            stages.add_metric([stage], total.count, total.sum_s)
        yield stages
        yield GaugeMetricFamily("saliency_browsers", "Browsers that look on.", value=self._browsers())
