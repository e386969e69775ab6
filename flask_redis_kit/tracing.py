"""OpenTelemetry: a span per round trip, and metrics: ``install_tracing(app)``. The extra ``otel``.

A span is named ``redis trip``, is a child of the current span, and has the attributes of the
semantic conventions for databases: where, how many commands, what went wrong. Keys, values and
commands never appear. Needs opentelemetry-api alone; without an SDK nothing is recorded.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask

from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.names import DEFAULT_NAME
from flask_redis_kit.core.observer import Observer, kit_state, open_breakers, pool_use
from flask_redis_kit.core.settings import VERSION
from flask_redis_kit.core.state import KitState

try:
    from opentelemetry.metrics import (
        MeterProvider,
        Observation,
        get_meter_provider,
    )
    from opentelemetry.trace import (
        SpanKind,
        Status,
        StatusCode,
        TracerProvider,
        get_tracer_provider,
    )
except ImportError as error:
    raise ImportError(
        'flask_redis_kit.tracing needs opentelemetry-api: pip install "flask-redis-kit[otel]"'
    ) from error

__all__ = ["RedisTracing", "install_tracing"]


@dataclass(frozen=True, slots=True)
class _Server:
    """What all spans of a server say."""

    connector: Connector
    attributes: dict[str, str | int]


class RedisTracing(Observer[_Server]):
    """Spans and metrics of one kit in one application; made by ``install_tracing``."""

    def __init__(
        self, state: KitState, tracer_provider: TracerProvider, meter_provider: MeterProvider
    ) -> None:
        super().__init__(state)
        self._tracer = tracer_provider.get_tracer("flask_redis_kit", VERSION)
        meter = meter_provider.get_meter("flask_redis_kit", VERSION)
        self._seconds = meter.create_histogram(
            "db.client.operation.duration", "s", "How long a round trip took."
        )
        self._commands = meter.create_counter("redis_kit.commands", "{command}")
        self._retries = meter.create_counter("redis_kit.retries", "{command}")
        self._refused = meter.create_counter("redis_kit.refused", "{trip}")
        kept = weakref.ref(self)  # a meter has no way to forget a callback

        def observed(figure: Callable[[Connector], int], **more: str) -> Callable[..., Any]:
            def observe(_: object) -> Iterable[Observation]:
                tracing = kept()
                for server in [] if tracing is None else list(tracing._servers.values()):
                    yield Observation(figure(server.connector), {**server.attributes, **more})

            return observe

        meter.create_observable_gauge(
            "redis_kit.breakers_open", [observed(open_breakers)], "{breaker}"
        )
        used = observed(lambda c: pool_use(c)[0], **{"db.client.connection.state": "used"})
        meter.create_observable_up_down_counter(
            "db.client.connection.count", [used], "{connection}"
        )
        size = observed(lambda c: pool_use(c)[1])
        meter.create_observable_up_down_counter("db.client.connection.max", [size], "{connection}")

    def watch(self, connector: Connector) -> _Server:
        endpoint = connector.settings.endpoint
        # the conventions say db.system.name since 1.30; many backends still look for db.system
        attributes: dict[str, str | int] = {"db.system.name": "redis", "db.system": "redis"}
        attributes["db.namespace"] = str(endpoint.db)
        if endpoint.kind == "tcp":
            attributes["server.address"], attributes["server.port"] = endpoint.hosts[0]
        else:
            attributes["server.address"] = connector.address
        return _Server(connector, attributes)

    def trip(
        self,
        server: _Server,
        *,
        commands: int,
        seconds: float,
        error: Exception | None,
        error_replies: Sequence[Exception],
    ) -> None:
        ended = time.time_ns()
        attributes = server.attributes
        failure = error or next(iter(error_replies), None)
        if failure is not None:
            attributes = {**attributes, "error.type": type(failure).__name__}
        self._seconds.record(seconds, attributes)
        self._commands.add(commands, server.attributes)
        if commands > 1:  # of one, the conventions say nothing
            attributes = {**attributes, "db.operation.batch.size": commands}
        span = self._tracer.start_span(
            "redis trip",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=ended - int(seconds * 1e9),
        )
        if failure is not None:
            # the message is left out: what a server says may quote what it was sent
            span.set_status(Status(StatusCode.ERROR, type(failure).__name__))
        span.end(ended)

    def retried(self, server: _Server, *, commands: int, reason: str) -> None:
        self._retries.add(commands, {**server.attributes, "redis_kit.reason": reason})

    def refused(self, server: _Server) -> None:
        self._refused.add(1, server.attributes)


def install_tracing(
    app: Flask,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    kit: str = DEFAULT_NAME,
) -> RedisTracing:
    """Trace what a kit does in an application, after ``kit.init_app(app)``. No I/O.

    Without providers: OpenTelemetry's global ones. ``kit``: its name, where there are several.
    Returns what has ``.uninstall()``. Raises ``ConfigError`` if it is traced already.
    """
    state = kit_state(app, kit)
    if any(isinstance(receiver, RedisTracing) for receiver in state.receivers):
        raise ConfigError(
            f"Application {app.name!r} is traced already: call install_tracing once, or "
            "uninstall() the first."
        )
    tracing = RedisTracing(
        state, tracer_provider or get_tracer_provider(), meter_provider or get_meter_provider()
    )
    tracing.install()
    return tracing
