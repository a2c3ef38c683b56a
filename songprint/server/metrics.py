"""Metrics for Prometheus: counters and durations of this process, and gauges read from the database on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds

Gauge = float | Mapping[str, float]  # one number, or a number for each value of the gauge's label


class Metrics:
    """The metrics of one application, apart from the global registry of `prometheus_client`."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the number of series
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "songprint_requests_total", "HTTP requests.", ("method", "route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "songprint_request_seconds", "Duration of HTTP requests.", ("route",), buckets=BUCKETS, registry=registry
        )
        self.queries = Counter("songprint_clips_total", "Queries sent to /v1/identify.", registry=registry)
        self.answers = Counter(
            "songprint_answers_total", "Reports by the kind of their best match.", ("kind",), registry=registry
        )
        self.identify_seconds = Histogram(
            "songprint_identify_seconds", "Time to identify one query.", buckets=BUCKETS, registry=registry
        )

    def text(self, gauges: Mapping[str, tuple[str, Gauge]]) -> bytes:
        """All metrics in the text format of Prometheus.

        Args:
            gauges: for each name its label, empty without one, and the current value or values.

        >>> metrics = Metrics()
        >>> metrics.answers.labels(kind="cover").inc()
        >>> text = metrics.text({"songprint_jobs": ("state", {"waiting": 3.0})}).decode()
        >>> print(*(line for line in text.splitlines() if "answers" in line or "jobs" in line), sep="\\n")
        # HELP songprint_answers_total Reports by the kind of their best match.
        # TYPE songprint_answers_total counter
        songprint_answers_total{kind="cover"} 1.0
        # HELP songprint_jobs Read when /metrics is requested.
        # TYPE songprint_jobs gauge
        songprint_jobs{state="waiting"} 3.0
        """
        families = [_family(name, label, values) for name, (label, values) in sorted(gauges.items())]
        counted = prometheus_client.generate_latest(self._registry)
        return counted + prometheus_client.generate_latest(_Snapshot(families))


class _Snapshot(Collector):
    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def _family(name: str, label: str, values: Gauge) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, "Read when /metrics is requested.", labels=[label] if label else [])
    for value_of_label, value in values.items() if isinstance(values, Mapping) else [("", values)]:
        family.add_metric([value_of_label] if label else [], value)
    return family
