"""The run in numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
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
        """Give the metrics as they are now."""
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
