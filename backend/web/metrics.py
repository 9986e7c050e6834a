"""`GET /metrics` for Prometheus: requests as they are counted, the rest as it stands when it is asked for."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Response
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from backend.services.container import Services

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_STORE = {"Cache-Control": "no-store"}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The figures of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.requests = Counter(
            "unweave_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "unweave_request_seconds", "From a request to the end of its answer", ["method", "route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "unweave_requests_in_flight", "Requests being answered", registry=self.registry
        )

    def watch(self, services: Services) -> None:
        """Ask these services whenever the metrics are asked for."""
        self.registry.register(_Standing(services))

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request. Routes are templates, so that their number stays small."""
        method = method if method in METHODS else "other"
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)

    def answer(self) -> Response:
        """Every figure, in Prometheus's text format."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4, headers=NO_STORE)


class _Standing:
    """What the services say this moment. A database that is away takes the jobs' figures with it, not the others."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def describe(self) -> Iterable[Metric]:
        return []  # nothing is asked of the services before they have started

    def collect(self) -> Iterable[Metric]:
        pool, engines = self.services.pool, self.services.engines
        yield _gauge("unweave_compute_inside", "Ablations that are computed or wait", pool.inside)
        yield CounterMetricFamily("unweave_ablations", "Pieces of model work done", pool.done)
        yield _gauge(
            "unweave_engine_bytes", "Memory that loaded models and decompositions need", engines.used_bytes
        )
        yield _gauge("unweave_engine_budget_bytes", "Memory that they may need", engines.budget)
        yield _by(
            "unweave_engines", "Sets of weights by state", "state", Count(s.state for s in engines.statuses())
        )
        health = self.services.health.report()
        yield _gauge("unweave_database_up", "Whether the database answers", int(health.database.ok))
        workers = Count(worker.state for worker in health.workers)
        yield _by(
            "unweave_workers",
            "Workers by state",
            "state",
            {state: workers[state] for state in ("idle", "busy", "lost")},
        )
        if health.database.ok:
            yield _by("unweave_jobs", "Jobs by state", "state", self.services.jobs.queue.by_state())


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(name, description, value)


def _by(name: str, description: str, label: str, counts: Mapping[Any, int]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
