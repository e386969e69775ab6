"""OpenTelemetry: a span per trip below the current one, metrics, and nothing of what was sent."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from redis.exceptions import ResponseError

from flask_redis_kit import CircuitOpen, ConfigError, RedisKit, ServerUnavailable
from flask_redis_kit.core import signals
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.tracing import install_tracing
from tests.harness.servers import Server


class Traced:
    """An application whose spans and metrics stay in memory."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.spans = TracerProvider(shutdown_on_exit=False)
        self.spans.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.app = Flask("shop")
        self.app.config.update(REDIS_URL=url, **settings)
        self.kit = RedisKit(self.app)
        self.tracing = install_tracing(
            self.app, tracer_provider=self.spans, meter_provider=self.meters
        )

    def send(self, *commands: Any) -> Any:
        exchange = Exchange("test", "", list(commands), first, idempotent=True)
        return self.kit.state().wire().send(exchange)

    def finished(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def measured(self) -> dict[str, list[Any]]:
        """The data points of each metric."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def close(self) -> None:
        self.tracing.uninstall()
        self.kit.close()
        self.spans.shutdown()
        self.meters.shutdown()


@pytest.fixture
def trace() -> Iterator[Callable[..., Traced]]:
    made: list[Traced] = []

    def make(url: str, **settings: Any) -> Traced:
        made.append(Traced(url, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_each_trip_is_a_span_below_the_current_one(
    server: Server, trace: Callable[..., Traced]
) -> None:
    traced = trace(server.url)
    tracer = traced.spans.get_tracer("app")
    with tracer.start_as_current_span("request") as request:
        traced.send(("PING",))
        traced.send(("PING",), ("PING",), ("PING",))
    one, three, parent = traced.finished()
    assert one.name == three.name == "redis trip"
    assert one.kind is SpanKind.CLIENT
    assert one.parent is not None
    assert one.parent.span_id == request.get_span_context().span_id
    assert one.attributes == {
        "db.system.name": "redis",
        "db.system": "redis",
        "db.namespace": "0",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    assert (three.attributes or {})["db.operation.batch.size"] == 3
    assert parent.start_time is not None
    assert one.start_time is not None
    assert one.end_time is not None
    assert parent.start_time <= one.start_time < one.end_time <= (parent.end_time or 0)


def test_a_trip_that_failed_says_so_by_the_class_of_its_error(
    own_server: Callable[..., Server], trace: Callable[..., Traced]
) -> None:
    server = own_server()
    traced = trace(server.url)
    wrong = Exchange("test", "", [("SET", "k", "v"), ("LPUSH", "k", "v")], first)
    traced.kit.state().wire().send_many([wrong])
    server.kill()
    with pytest.raises(ServerUnavailable):
        traced.send(("PING",))
    replied, gone, *_ = traced.finished()
    assert replied.status.status_code is gone.status.status_code is StatusCode.ERROR
    assert (replied.attributes or {})["error.type"] == "ResponseError"
    assert (gone.attributes or {})["error.type"] == "ServerUnavailable"


def test_an_open_breaker_makes_no_span_and_is_counted(
    own_server: Callable[..., Server], trace: Callable[..., Traced]
) -> None:
    server = own_server()
    traced = trace(server.url, REDIS_BREAKER_FAILURES=1)
    server.kill()
    with pytest.raises(ServerUnavailable):
        traced.send(("PING",))
    trips = len(traced.finished())
    with pytest.raises(CircuitOpen):
        traced.send(("PING",))
    assert len(traced.finished()) == trips
    measured = traced.measured()
    assert [point.value for point in measured["redis_kit.refused"]] == [1]
    assert [point.value for point in measured["redis_kit.breakers_open"]] == [1]


def test_the_metrics_have_durations_commands_and_connections(
    server: Server, trace: Callable[..., Traced]
) -> None:
    traced = trace(server.url, REDIS_MAX_CONNECTIONS=6)
    traced.send(("PING",))
    traced.send(("PING",), ("PING",))
    measured = traced.measured()
    assert [point.count for point in measured["db.client.operation.duration"]] == [2]
    assert [point.value for point in measured["redis_kit.commands"]] == [3]
    assert [point.value for point in measured["db.client.connection.count"]] == [0]
    assert [point.value for point in measured["db.client.connection.max"]] == [6]


def test_spans_and_metrics_contain_no_key_no_value_and_no_secret(
    own_server: Callable[..., Server], trace: Callable[..., Traced]
) -> None:
    server = own_server(password="sesame")
    traced = trace(server.url)
    with traced.app.app_context():
        traced.kit.cache.set("some-key", "some-value", tags=["some-tag"])
        traced.kit.ratelimit.check(limit=1, window=60, key="some-visitor")
    with pytest.raises(ResponseError):
        traced.send(("SET", "some-key", "some-value"), ("LPUSH", "some-key", "some-value"))
    text = json.dumps([json.loads(span.to_json()) for span in traced.finished()])
    text += repr(traced.reader.get_metrics_data())
    assert "redis trip" in text
    assert [word for word in ("sesame", "some-", "frk:", "EVAL", "LPUSH") if word in text] == []


def test_tracing_twice_is_refused_and_ends_with_uninstall(
    server: Server, trace: Callable[..., Traced]
) -> None:
    traced = trace(server.url)
    with pytest.raises(ConfigError, match="traced already"):
        install_tracing(traced.app)
    traced.tracing.uninstall()
    gc.collect()
    assert not signals.trip.receivers
    traced.send(("PING",))
    assert traced.finished() == []
    assert traced.measured().get("redis_kit.breakers_open") is None


def test_another_applications_trips_are_not_traced(
    server: Server, trace: Callable[..., Traced]
) -> None:
    one, other = trace(server.url), trace(server.url)
    other.send(("PING",))
    assert len(one.finished()) == 0
    assert len(other.finished()) == 1
