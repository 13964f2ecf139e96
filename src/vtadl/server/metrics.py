"""Metrics for Prometheus."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vtadl.server.tables import Inspection

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """What a server counts; each server has its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "vtadl_requests", "Requests by route and status", ("method", "route", "status"), registry=self._registry
        )
        self.latency = Histogram(
            "vtadl_request_seconds", "Time to an answer", ("route",), buckets=SECONDS, registry=self._registry
        )
        self._verdicts = Counter(
            "vtadl_inspections", "Stored inspections", ("detector", "verdict"), registry=self._registry
        )
        self._wait = Histogram("vtadl_queue_seconds", "Time in the queue", buckets=SECONDS, registry=self._registry)
        self._batches = Histogram(
            "vtadl_batch_pictures", "Pictures scored at a time", buckets=(1, 2, 4, 8), registry=self._registry
        )
        self._drift = Gauge(
            "vtadl_drift",
            "Largest difference from calibration, 0..1",
            ("detector", "statistic"),
            registry=self._registry,
        )

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a metric that is asked for when it is read."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def recorded(self, rows: Sequence[Inspection]) -> None:
        """Count stored inspections."""
        for row in rows:
            self._verdicts.labels(row.detector, row.verdict or "none").inc()

    def taken(self, size: int, wait: float) -> None:
        """Count a picture that left the queue in a batch."""
        self._wait.observe(wait)
        self._batches.observe(size)

    def drifted(self, detector: str, statistic: str, difference: float) -> None:
        """Note how far a statistic is from calibration."""
        self._drift.labels(detector, statistic).set(difference)

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self._registry)
