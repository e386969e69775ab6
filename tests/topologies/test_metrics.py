"""A Cluster in the metrics: one server, whose breakers and pools are those of its primaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry

from flask_redis_kit import RedisKit
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.metrics import install_metrics
from tests.harness.clusters import ClusterGroup


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def measured(registry: CollectorRegistry) -> Iterator[Callable[[ClusterGroup], Wire]]:
    ends: list[Callable[[], None]] = []

    def measure(group: ClusterGroup) -> Wire:
        app = Flask("shop")
        app.config.update(
            REDIS_URL=group.url,
            REDIS_MAX_CONNECTIONS=4,
            REDIS_BREAKER_FAILURES=1,
            REDIS_SOCKET_TIMEOUT=2,  # for the node that hangs
        )
        kit = RedisKit(app)
        ends.extend((install_metrics(app, registry=registry).uninstall, kit.close))
        return kit.state().wire()

    yield measure
    for end in ends:
        end()


def value(registry: CollectorRegistry, name: str) -> float:
    return sum(
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"redis_kit_{name}"
    )


def keys_on_all(group: ClusterGroup) -> list[Exchange[bytes]]:
    keys = [group.key_on(primary) for primary in group.primaries()]
    return [Exchange("test", key, [("GET", key)], first, read_only=True) for key in keys]


def test_a_trip_to_all_nodes_is_one_trip(
    cluster: ClusterGroup, measured: Callable[[ClusterGroup], Wire], registry: CollectorRegistry
) -> None:
    wire = measured(cluster)
    assert all(outcome.error is None for outcome in wire.send_many(keys_on_all(cluster)))
    assert value(registry, "trips_total") == 1
    assert value(registry, "commands_total") == 3
    assert value(registry, "pool_size") == 12
    assert value(registry, "pool_in_use") == 0


def test_a_primary_that_is_away_is_one_open_breaker(
    own_cluster: Callable[..., ClusterGroup],
    measured: Callable[[ClusterGroup], Wire],
    registry: CollectorRegistry,
) -> None:
    group = own_cluster(node_timeout=15)  # nobody is promoted meanwhile
    wire = measured(group)
    asked = keys_on_all(group)
    wire.send_many(asked)
    assert value(registry, "breakers_open") == 0
    away = group.primaries()[0]
    group.pause(away)
    wire.send_many(asked)
    assert value(registry, "breakers_open") == 1
    wire.send_many(asked)
    assert value(registry, "errors_total") >= 2  # the late reply, and what the breaker refused
    group.resume(away)
