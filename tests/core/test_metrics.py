"""Prometheus metrics: what is counted, for whom, across processes; off when not installed."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session
from prometheus_client import CollectorRegistry

from flask_redis_kit import (
    CircuitOpen,
    ConfigError,
    NotInitialized,
    RedisKit,
    RedisSessionInterface,
    ServerUnavailable,
)
from flask_redis_kit.core import signals
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.script import Script
from flask_redis_kit.metrics import RedisMetrics, install_metrics
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until

ALL = (
    signals.trip,
    signals.retried,
    signals.refused,
    signals.breaker_changed,
    signals.counted,
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(autouse=True)
def _nobody_listens_afterwards() -> Iterator[None]:
    yield
    gc.collect()
    assert not any(signal.receivers for signal in ALL)


Make = Callable[..., tuple[Flask, RedisKit, RedisMetrics]]


@pytest.fixture
def make(registry: CollectorRegistry) -> Iterator[Make]:
    """Measured applications, on one registry; their connections are closed afterwards."""
    kits: list[tuple[Flask, RedisKit, RedisMetrics]] = []

    def made(url: str, **settings: Any) -> tuple[Flask, RedisKit, RedisMetrics]:
        app = Flask("shop")
        app.config.update(REDIS_URL=url, **settings)
        kit = RedisKit(app)
        kits.append((app, kit, install_metrics(app, registry=registry)))
        return kits[-1]

    yield made
    for app, kit, metrics in kits:
        metrics.uninstall()
        with app.app_context():
            kit.close()


def ask(kit: RedisKit, count: int = 1) -> None:
    kit.state().wire().send(Exchange("test", "", [("ECHO", "x")] * count, first, idempotent=True))


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """The sum over all servers and all other labels; None if there is no such series."""
    found = [
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"redis_kit_{name}" and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else None


def test_trips_and_commands_are_counted_with_their_duration(
    server: Server, make: Make, registry: CollectorRegistry
) -> None:
    _, kit, _ = make(server.url)
    assert value(registry, "trips_total") == 0  # the series are there before the first trip
    ask(kit)
    ask(kit, 3)
    assert value(registry, "trips_total") == 2
    assert value(registry, "commands_total") == 4
    assert value(registry, "trip_seconds_count") == 2
    assert 0 < (value(registry, "trip_seconds_sum") or 0) < 60
    assert value(registry, "trips_total", server=f"127.0.0.1:{server.port}/0") == 2


def test_failures_are_counted_by_the_class_of_their_error(
    server: Server, make: Make, registry: CollectorRegistry
) -> None:
    _, kit, _ = make(server.url, REDIS_BREAKER_FAILURES=2)
    ask(kit)
    wrong = Exchange("test", "k", [("SET", "k", "v"), ("LPUSH", "k", "v"), ("DEL", "k")], list)
    assert kit.state().wire().send_many([wrong])[0].error is not None
    assert value(registry, "errors_total", kind="ResponseError") == 1
    server.kill()
    for _ in range(2):
        with pytest.raises(ServerUnavailable):
            ask(kit)
    with pytest.raises(CircuitOpen):
        ask(kit)
    assert (value(registry, "errors_total", kind="ServerUnavailable") or 0) >= 1
    assert value(registry, "errors_total", kind="CircuitOpen") == 1
    assert value(registry, "breakers_open") == 1
    server.revive()
    wait_until(lambda: value(registry, "breakers_open") == 0, what="the probe to close it")


def test_what_is_sent_again_is_counted_with_its_reason(
    server: Server, proxy: Proxy, make: Make, registry: CollectorRegistry
) -> None:
    _, kit, _ = make(proxy.url)
    script = Script("flask_redis_kit.ratelimit", "lua/acquire.lua")
    call = script.call(["frk:{a}:limit:x"], [0])
    kit.state().wire().send_many([Exchange("test", "", [call], first)])
    assert value(registry, "retries_total", reason="refused") == 1
    assert value(registry, "errors_total", kind="NoScriptError") is None
    proxy.cut_after(0)
    ask(kit, 2)
    assert value(registry, "retries_total", reason="broken") == 2
    assert value(registry, "errors_total", kind="ServerUnavailable") == 1


def test_the_gauges_show_the_pool(server: Server, make: Make, registry: CollectorRegistry) -> None:
    _, kit, metrics = make(server.url, REDIS_MAX_CONNECTIONS=5)
    assert (value(registry, "pool_in_use"), value(registry, "pool_size")) == (0, 5)
    pool = kit.connector().pool
    connection = pool.get_connection()
    assert value(registry, "pool_in_use") == 1
    pool.release(connection)
    assert value(registry, "pool_in_use") == 0
    metrics.uninstall()
    assert value(registry, "pool_size") == 0


def test_applications_on_one_registry_add_up_and_other_applications_do_not_count(
    server: Server, make: Make, registry: CollectorRegistry
) -> None:
    _, first_kit, _ = make(server.url, REDIS_MAX_CONNECTIONS=5)
    _, second_kit, second_metrics = make(server.url, REDIS_MAX_CONNECTIONS=5)
    ask(first_kit)
    ask(second_kit)
    assert value(registry, "trips_total") == 2
    assert value(registry, "pool_size") == 10
    second_metrics.uninstall()
    ask(second_kit)
    assert value(registry, "trips_total") == 2
    assert value(registry, "pool_size") == 5


def test_nobody_listens_before_and_after(
    server: Server, make: Make, registry: CollectorRegistry
) -> None:
    assert not any(signal.receivers for signal in ALL)
    app, kit, metrics = make(server.url)
    assert all(signal.receivers for signal in ALL)
    with pytest.raises(ConfigError, match="counted twice"):
        install_metrics(app, registry=registry)
    metrics.uninstall()
    metrics.uninstall()
    assert not any(signal.receivers for signal in ALL)
    ask(kit)
    assert value(registry, "trips_total") == 0
    metrics = install_metrics(app, registry=registry)
    ask(kit)
    assert value(registry, "trips_total") == 1
    metrics.uninstall()


def test_the_metrics_go_with_their_application(server: Server, registry: CollectorRegistry) -> None:
    app = Flask("shop")
    app.config["REDIS_URL"] = server.url
    RedisKit(app)
    install_metrics(app, registry=registry)
    assert value(registry, "pool_size") == 50
    del app
    gc.collect()
    assert not any(signal.receivers for signal in ALL)
    assert value(registry, "pool_size") == 0


def test_an_application_without_a_kit_is_told_so(registry: CollectorRegistry) -> None:
    with pytest.raises(NotInitialized, match=r"kit\.init_app\(app\)"):
        install_metrics(Flask("bare"), registry=registry)


def test_the_metrics_contain_no_key_and_no_secret(
    own_server: Callable[..., Server], make: Make
) -> None:
    server = own_server(password="sesame")
    app, kit, metrics = make(server.url, SECRET_KEY="hush")
    app.session_interface = RedisSessionInterface(kit)
    app.register_blueprint(metrics.blueprint())

    @app.get("/page/<name>")
    @kit.ratelimit.rate_limit(limit=9, window=60, key_func=lambda: "visitor-key")
    @kit.cache.cache_result(key_prefix="product", ttl=60, tags=["tag-key"], public=True)
    def page(name: str) -> str:
        session["who"] = "session-value"
        return name

    client = app.test_client()
    assert client.get("/page/path-value").status_code == 200
    with app.app_context():
        kit.cache.set("cache-key", "cache-value")
        kit.client.set("frk:{x}:cache:y:z", "1")
        cookie = client.get_cookie("session")
    response = client.get("/metrics")
    text = response.text
    assert response.content_type.startswith("text/plain")
    assert "redis_kit_trips_total" in text
    assert cookie is not None
    said = ("sesame", "hush", "-key", "-value", "frk:", "shop", cookie.value)
    assert [word for word in said if word in text] == []


def test_a_failure_of_the_metrics_is_logged_once_and_not_the_requests(
    server: Server,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, kit, metrics = make(server.url)

    def broken(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(metrics, "trip", broken)
    with caplog.at_level(logging.ERROR):
        ask(kit)
        ask(kit)
    assert len(caplog.records) == 1
    assert "the disk is full" in caplog.text


def pages_of(directory: Path, *arguments: tuple[str, ...]) -> list[str]:
    """The /metrics of processes that share a directory, each asked while those before it live."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    pages = []
    processes = []
    try:
        for each in arguments:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.core.measured", *each],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            processes.append(process)
            assert process.stdout is not None
            pages.append("".join(iter(process.stdout.readline, "END\n")))
    finally:
        for process in processes:
            process.communicate(timeout=60)
    return pages


def test_processes_add_up_where_prometheus_shares_a_directory(
    server: Server, tmp_path: Path
) -> None:
    texts = pages_of(tmp_path, (server.url, "3"), (server.url, "4"))
    labels = f'{{server="127.0.0.1:{server.port}/0"}}'
    assert f"redis_kit_trips_total{labels} 3.0" in texts[0]
    assert f"redis_kit_trips_total{labels} 7.0" in texts[1]
    assert f"redis_kit_trip_seconds_count{labels} 7.0" in texts[1]
    assert f"redis_kit_pool_size{labels} 14.0" in texts[1]
    assert f"redis_kit_pool_in_use{labels} 0.0" in texts[1]
    assert f"redis_kit_breakers_open{labels} 0.0" in texts[1]


def test_a_forked_worker_writes_down_its_own_figures(server: Server, tmp_path: Path) -> None:
    (text,) = pages_of(tmp_path, (server.url, "3", "fork"))
    labels = f'{{server="127.0.0.1:{server.port}/0"}}'
    assert f"redis_kit_trips_total{labels} 3.0" in text
    assert f"redis_kit_pool_size{labels} 14.0" in text  # its own, and its parent's


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("metrics", "prometheus_client", "metrics"), ("tracing", "opentelemetry", "otel")],
)
def test_without_its_package_it_is_not_imported_and_says_what_to_install(
    module: str, package: str, extra: str
) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "import flask_redis_kit, flask\n"
        "flask_redis_kit.RedisKit(flask.Flask('a'))\n"
        "assert 'flask_redis_kit.metrics' not in sys.modules\n"
        "assert 'flask_redis_kit.tracing' not in sys.modules\n"
        f"try:\n    import flask_redis_kit.{module}\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f'pip install "flask-redis-kit[{extra}]"' in done.stdout


def test_what_features_count_has_a_name_and_an_outcome(
    make: Make, redis_url: str, registry: CollectorRegistry
) -> None:
    _, kit, _ = make(redis_url)
    other = Flask("other")
    other.config.update(REDIS_URL=redis_url)
    unmeasured = RedisKit(other)
    kit.cache.context().counters.add("product", "hit", 2)
    with other.app_context():
        unmeasured.cache.context().counters.add("product", "hit")
    labels = {"feature": "cache", "name": "product", "outcome": "hit"}
    assert registry.get_sample_value("redis_kit_outcomes_total", labels) == 2
