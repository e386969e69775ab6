"""Prometheus metrics of a kit: ``install_metrics(app)``. The extra ``metrics``.

::

    redis_kit_trips_total{server}                   round trips
    redis_kit_commands_total{server}                commands in them
    redis_kit_errors_total{server,kind}             failures, by the name of the error's class
    redis_kit_retries_total{server,reason}          commands sent again: broken, refused
    redis_kit_trip_seconds{server}                  histogram
    redis_kit_breakers_open{server}                 0 or 1; of a Cluster, nodes that are away
    redis_kit_pool_in_use{server}                   connections of the pool that are handed out
    redis_kit_pool_size{server}                     how many there may be
    redis_kit_outcomes_total{feature,name,outcome}  what features count, e.g. cache, product, hit

``server`` is the address in the settings, without secrets: one value per URL, keys never appear.
``name`` is one that the application gave: a key prefix, a policy.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from functools import partial

from flask import Blueprint, Flask, Response, request

from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.names import DEFAULT_NAME
from flask_redis_kit.core.observer import Observer, kit_state, open_breakers, pool_use
from flask_redis_kit.core.state import KitState

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.multiprocess import MultiProcessCollector
except ImportError as error:
    raise ImportError(
        'flask_redis_kit.metrics needs prometheus-client: pip install "flask-redis-kit[metrics]"'
    ) from error

__all__ = ["RedisMetrics", "install_metrics"]

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
"""The histogram's buckets."""


class _Series:
    """What is counted in one registry: an application more on the same one adds to it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"redis_kit_{name}", text, ("server", *labels), registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            # of the processes that live now: tell prometheus-client which have ended
            return Gauge(
                f"redis_kit_{name}",
                text,
                ("server",),
                registry=registry,
                multiprocess_mode="livesum",
            )

        self.trips = counter("trips", "Round trips to the server.")
        self.commands = counter("commands", "Commands in them.")
        self.errors = counter("errors", "Failed trips, refused ones, and error replies.", "kind")
        self.retries = counter("retries", "Commands that were sent again.", "reason")
        self.seconds = Histogram(
            "redis_kit_trip_seconds",
            "How long a round trip took.",
            ("server",),
            buckets=SECONDS,
            registry=registry,
        )
        self.breakers = gauge("breakers_open", "Open circuit breakers.")
        self.in_use = gauge("pool_in_use", "Connections that are handed out.")
        self.size = gauge("pool_size", "Connections that there may be.")
        self.outcomes = Counter(
            "redis_kit_outcomes",
            "What features count, by a name of the application's.",
            ("feature", "name", "outcome"),
            registry=registry,
        )
        self.servers: dict[str, _Server] = {}


class _Server:
    """The figures of one address in one registry, whoever uses it."""

    def __init__(self, series: _Series, address: str) -> None:
        self.series = series
        self.address = address
        self.connectors: weakref.WeakSet[Connector] = weakref.WeakSet()
        self.trips = series.trips.labels(address)
        self.commands = series.commands.labels(address)
        self.seconds = series.seconds.labels(address)
        self._gauges = (
            series.breakers.labels(address),
            series.in_use.labels(address),
            series.size.labels(address),
        )
        self._written: tuple[int, ...] = ()
        for n, gauge in enumerate(self._gauges):
            # asked when scraped, where one process is all
            gauge.set_function(partial(self._value, n))

    def failed(self, kind: str) -> None:
        self.series.errors.labels(self.address, kind).inc()

    def sample(self) -> None:
        """Write the gauges down for other processes to read, if they changed in this one."""
        values = self._values()
        if self._written == (os.getpid(), *values):
            return
        self._written = (os.getpid(), *values)
        for gauge, value in zip(self._gauges, values, strict=True):
            gauge.set(value)

    def _value(self, n: int) -> int:
        return self._values()[n]

    def _values(self) -> tuple[int, int, int]:
        """Open breakers, connections in use, connections that there may be."""
        connectors = list(self.connectors)
        used = [pool_use(connector) for connector in connectors]
        return (
            sum(map(open_breakers, connectors)),
            sum(in_use for in_use, _ in used),
            sum(size for _, size in used),
        )


_series: weakref.WeakKeyDictionary[CollectorRegistry, _Series] = weakref.WeakKeyDictionary()
"""A registry refuses two metrics of one name; tests make many applications on the global one."""


class RedisMetrics(Observer[_Server]):
    """The metrics of one kit in one application; made by ``install_metrics``."""

    def __init__(self, state: KitState, registry: CollectorRegistry) -> None:
        super().__init__(state)
        self.registry = registry
        self._shared = _shared_by_processes()
        self._series = _series.get(registry) or _series.setdefault(registry, _Series(registry))

    def blueprint(self, url: str = "/metrics") -> Blueprint:
        """A blueprint that answers ``GET url`` with all metrics of the registry.

        With ``PROMETHEUS_MULTIPROC_DIR`` set: those of all processes. It asks nobody for a
        password: keep the path from the public at the proxy, or add a ``before_request`` to it.
        """
        blueprint = Blueprint("redis_kit_metrics", __name__)

        @blueprint.get(url)
        def redis_kit_metrics() -> Response:
            registry = self.registry
            if self._shared:
                registry = CollectorRegistry()
                MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
            return Response(encode(registry), content_type=content_type)

        return blueprint

    def watch(self, connector: Connector) -> _Server:
        servers, address = self._series.servers, connector.address
        server = servers.get(address) or servers.setdefault(address, _Server(self._series, address))
        server.connectors.add(connector)
        if self._shared:
            server.sample()
        return server

    def forget(self, connector: Connector, server: _Server) -> None:
        server.connectors.discard(connector)
        if self._shared:
            server.sample()

    def trip(
        self,
        server: _Server,
        *,
        commands: int,
        seconds: float,
        error: Exception | None,
        error_replies: Sequence[Exception],
    ) -> None:
        server.trips.inc()
        server.commands.inc(commands)
        server.seconds.observe(seconds)
        if error is not None:
            server.failed(type(error).__name__)
        for reply in error_replies:
            server.failed(type(reply).__name__)
        if self._shared:
            server.sample()

    def retried(self, server: _Server, *, commands: int, reason: str) -> None:
        self._series.retries.labels(server.address, reason).inc(commands)

    def refused(self, server: _Server) -> None:
        server.failed("CircuitOpen")

    def counted(self, *, feature: str, subject: str, outcome: str, amount: int) -> None:
        self._series.outcomes.labels(feature, subject, outcome).inc(amount)

    def breaker_changed(self, server: _Server) -> None:
        if self._shared:
            server.sample()


def install_metrics(
    app: Flask, *, registry: CollectorRegistry | None = None, kit: str = DEFAULT_NAME
) -> RedisMetrics:
    """Count what a kit does in an application, after ``kit.init_app(app)``. No I/O.

    ``registry``  prometheus-client's global one by default; several applications may share one.
    ``kit``       the kit's name, where there are several.

    Works across processes when ``PROMETHEUS_MULTIPROC_DIR`` is set, as prometheus-client says; the
    gauges are then as of each process's last trip. Returns what has ``.blueprint()`` and
    ``.uninstall()``. Raises ``ConfigError`` if the application has metrics in this registry.
    """
    state = kit_state(app, kit)
    registry = REGISTRY if registry is None else registry
    for receiver in state.receivers:
        if isinstance(receiver, RedisMetrics) and receiver.registry is registry:
            raise ConfigError(
                f"Application {app.name!r} counts in this registry already: everything would be "
                "counted twice. Call install_metrics once, or uninstall() the first."
            )
    metrics = RedisMetrics(state, registry)
    metrics.install()
    return metrics


def _shared_by_processes() -> bool:
    """Whether prometheus-client writes its values to files (it looked when it was imported)."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ or "prometheus_multiproc_dir" in os.environ
