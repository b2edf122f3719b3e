"""The run in numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..telemetry import Telemetry
from ..video.frame import Result

_AGE_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


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
            registry=self._registry,
        )
        self._registry.register(_RunCollector(telemetry, browsers))
        ProcessCollector(registry=self._registry)

    def note(self, result: Result) -> None:
        """Count a result's age."""
        self._ages.labels(str(result.saliency.frame.stream)).observe(result.age_s)

    def to_text(self) -> bytes:
        """Give all of it in Prometheus's text format."""
        return generate_latest(self._registry)


class _RunCollector(Collector):
    """Reads the run's own counters when it is asked."""

    def __init__(self, telemetry: Telemetry, browsers: Callable[[], int]) -> None:
        self._telemetry, self._browsers = telemetry, browsers

    def collect(self) -> Iterator[Metric]:
        """Give the metrics as they are now."""
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
