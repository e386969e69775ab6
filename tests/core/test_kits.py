"""Several kits on one application: each with its settings, keys, batch, commands and session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from flask import Flask, Response, session

from flask_redis_kit import (
    ConfigError,
    NotInitialized,
    RedisKit,
    RedisSessionInterface,
    cache_result,
    rate_limit,
)
from tests.core.counter import CounterFeature
from tests.harness.leaks import Spec
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until


class Pair(NamedTuple):
    """Two kits on one application, each with a counting proxy and the feature ``counter``."""

    app: Flask
    one: RedisKit
    two: RedisKit
    first: Proxy
    second: Proxy


@pytest.fixture
def pair(server: Server, extra_keyspace: list[Spec]) -> Iterator[Pair]:
    extra_keyspace.extend(CounterFeature.keyspace)
    with Proxy(server.socket_path) as first, Proxy(server.socket_path) as second:
        app = Flask("shop")
        app.secret_key = "not secret"
        app.config.update(REDIS_URL=first.url, REDIS2_URL=second.url)
        one, two = RedisKit(), RedisKit(name="two", config_prefix="REDIS2")
        for kit in (one, two):
            kit.register(CounterFeature())
            kit.init_app(app)
        yield Pair(app, one, two, first, second)
        with app.app_context():
            one.close()
            two.close()


def test_each_kit_has_its_own_settings_and_keys(pair: Pair) -> None:
    app, one, two, *_ = pair
    with app.app_context():
        assert one.counter.add("a") == 1
        assert two.counter.add("a") == 1  # on one server and the same database
        one.cache.set("k", "of one")
        assert two.cache.get("k") is None
        two.cache.set("k", "of two")
        assert (one.cache.get("k"), two.cache.get("k")) == ("of one", "of two")
        assert one.client is not two.client
        assert one.state().keys.namespace == "shop"
        assert two.state().keys.namespace == "shop.two"


def test_the_settings_of_the_second_begin_with_its_prefix(pair: Pair) -> None:
    app = Flask("shop")
    app.config.update(REDIS_MAX_CONNECTIONS=3, REDIS2_MAX_CONNECTIONS=7, REDIS2_COUNTER_STEP=5)
    one, two = RedisKit(app), RedisKit(name="two", config_prefix="REDIS2")
    two.register(CounterFeature())
    two.init_app(app)
    with app.app_context():
        assert one.connector().settings.max_connections == 3
        assert two.connector().settings.max_connections == 7
        assert two.counter.context().config.step == 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"REDIS2_PORT": "many"}, "REDIS2_PORT='many'"),
        ({"REDIS2_SOCKET_TIMEOUT": -1}, "REDIS2_SOCKET_TIMEOUT must be more than 0"),
        ({"REDIS2_HOST": "h:6380"}, "a port goes into REDIS2_PORT"),
        ({"REDIS2_URL": "localhost"}, "REDIS2_URL: The URL has no scheme"),
        ({"REDIS2_OPTIONS": {"sokcet_timeout": 1}}, "REDIS2_OPTIONS"),
        ({"REDIS2_CACHE_TLL": 5}, "REDIS2_CACHE_TLL"),
        ({"REDIS2_NAMESPACE": "a b"}, "REDIS2_NAMESPACE='a b'"),
        ({"REDIS2_CLASS": dict}, "REDIS2_CLASS"),
    ],
)
def test_an_error_names_the_setting_as_the_kit_calls_it(
    settings: dict[str, Any], said: str
) -> None:
    app = Flask("shop")
    app.config.update(settings)
    with pytest.raises(ConfigError) as caught:
        RedisKit(app, name="two", config_prefix="REDIS2")
    assert said in str(caught.value)
    assert caught.value.key in settings
    assert app.extensions["redis_kit"] == {}


def test_the_environment_gives_each_kit_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://first/1")
    monkeypatch.setenv("REDIS2_URL", "redis://second/2")
    app = Flask("shop")
    one, two = RedisKit(app), RedisKit(app, name="two", config_prefix="REDIS2")
    assert (one.connector().address, two.connector().address) == ("first:6379/1", "second:6379/2")


@pytest.mark.parametrize("name", ["", "a b", "a.b", "-a", "x" * 25, None])
def test_a_name_that_can_not_stand_in_a_command_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="can't name a kit"):
        RedisKit(name=name)


@pytest.mark.parametrize("prefix", ["", "REDIS_", "MY REDIS", "2", None])
def test_a_prefix_that_can_not_begin_a_key_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigError, match="REDIS2 for REDIS2_URL"):
        RedisKit(config_prefix=prefix)


def test_a_prefix_that_begins_like_another_is_refused() -> None:
    app = Flask("shop")
    RedisKit(app)
    with pytest.raises(ConfigError, match="begins like 'REDIS'"):
        RedisKit(app, name="two", config_prefix="REDIS_TWO")


def test_a_long_application_name_leaves_room_for_the_kits() -> None:
    app = Flask("a" * 40)
    kits = [RedisKit(app, name=name, config_prefix=name.upper()) for name in ("default", "b" * 24)]
    with app.app_context():
        namespaces = [kit.state().keys.namespace for kit in kits]
    assert namespaces == ["a" * 32, "a" * 7 + "." + "b" * 24]


def test_two_kits_with_a_feature_in_common_do_not_share_its_keys() -> None:
    def make(features: tuple[str, ...] = ("cache", "queue"), **settings: Any) -> None:
        app = Flask("shop")
        app.config.update(settings, REDIS2_NAMESPACE="shop")
        RedisKit(app)
        RedisKit(app, name="two", config_prefix="REDIS2", features=features)

    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.key == "REDIS2_NAMESPACE"
    assert "'default' and 'two'" in str(caught.value)
    make(REDIS2_URL="redis://elsewhere")
    make(REDIS2_DB=1)
    make(features=())
    with pytest.raises(ConfigError, match="queue"):
        make(REDIS2_URL="redis://elsewhere", REDIS2_QUEUE_URL="redis://localhost:6379/0")


@pytest.mark.parametrize("owner", ["one", "two", None])
def test_what_each_kit_deferred_is_sent_with_the_response_whoever_has_the_session(
    pair: Pair, owner: str | None
) -> None:
    app, one, two, first, second = pair
    if owner is not None:
        app.session_interface = RedisSessionInterface(getattr(pair, owner))

    @app.get("/")
    def view() -> str:
        session["visits"] = session.get("visits", 0) + 1
        one.counter.later("a")
        two.counter.later("a")
        return "ok"

    sent: list[tuple[int, int]] = []

    @app.teardown_request
    def at_the_end(_: BaseException | None) -> None:
        sent.append((first.trips, second.trips))  # runs before the teardown of the kits

    app.test_client().get("/")  # the servers know the scripts from now on
    first.reset()
    second.reset()
    assert app.test_client().get("/").status_code == 200
    assert sent[1] == (1, 1)
    assert (first.trips, second.trips) == (1, 1)
    with app.app_context():
        assert (one.counter.read("a"), two.counter.read("a")) == (2, 2)


def test_the_session_may_live_on_the_second_kit(pair: Pair) -> None:
    app, _one, two, first, second = pair
    app.session_interface = RedisSessionInterface(two)

    @app.get("/")
    def count() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    browser = app.test_client()
    assert [browser.get("/").text for _ in range(2)] == ["1", "2"]
    with first.counting() as nothing, second.counting() as trips:
        assert browser.get("/").text == "3"
    assert nothing.trips == 0
    assert trips.trips == 2


def test_decorators_that_are_imported_belong_to_the_default_kit(pair: Pair) -> None:
    app, _one, two, first, second = pair

    @app.get("/unbound")
    @rate_limit(limit=5, window=60, key_func=lambda: "all")
    @cache_result(ttl=60)
    def unbound() -> str:
        return "unbound"

    @app.get("/bound")
    @two.ratelimit.rate_limit(limit=5, window=60, key_func=lambda: "all")
    @two.cache.cache_result(ttl=60)
    def bound() -> str:
        return "bound"

    @app.get("/mixed")
    @two.ratelimit.rate_limit(limit=5, window=60, key_func=lambda: "all")
    @cache_result(ttl=60)
    def mixed() -> str:
        return "mixed"

    browser = app.test_client()
    expected = {"/unbound": (1, 0), "/bound": (0, 1), "/mixed": (1, 1)}
    for path, trips in expected.items():
        browser.get(path)
        with first.counting() as mine, second.counting() as other:
            response = browser.get(path)
            assert response.headers["X-RateLimit-Remaining"] == "3"
            assert "hit" in response.headers["Cache-Status"]
        assert (mine.trips, other.trips) == trips, path


def test_imported_decorators_without_a_default_kit_name_the_kits_there_are() -> None:
    app = Flask("shop")
    RedisKit(app, name="two")

    @cache_result()
    def function() -> int:
        return 1

    with app.app_context(), pytest.raises(NotInitialized, match=r"It has 'two'"):
        function()


def test_a_request_counts_the_trips_of_each_kit(pair: Pair) -> None:
    app, one, two, *_ = pair

    @app.get("/")
    def view() -> list[int]:
        for _ in range(3):
            two.counter.add("a")
        one.counter.add("a")
        return [one.trips, two.trips]

    assert app.test_client().get("/").get_json() == [1, 3]


def test_closing_one_leaves_the_other(pair: Pair) -> None:
    app, one, two, first, second = pair
    with app.app_context():
        one.counter.add("a")
        two.counter.add("a")
        one.close()
        with second.counting() as count:
            assert two.counter.add("a") == 2
    assert count.connections == 0
    wait_until(lambda: first.open_connections == 0, what="the connections of the closed kit to end")


def test_a_server_that_is_gone_stops_its_own_kit_only(
    pair: Pair, own_server: Callable[..., Server]
) -> None:
    _app, _, two, *_ = pair
    gone = own_server()
    app = Flask("shop")
    app.config.update(REDIS_URL=gone.url, REDIS2_URL=pair.second.url)
    one, two = RedisKit(app), RedisKit(app, name="two", config_prefix="REDIS2")
    gone.kill()

    @app.get("/")
    def view() -> Response:
        one.cache.set("a", 1)
        two.cache.set("a", 2)
        return Response(str(two.cache.get("a")))

    assert app.test_client().get("/").text == "2"
    with app.app_context():
        one.close()
        two.close()


def test_each_kit_has_its_own_commands_and_health(pair: Pair) -> None:
    app, one, two, first, second = pair
    run = app.test_cli_runner().invoke
    for group, proxy, namespace in (("redis", first, "shop"), ("redis-two", second, "shop.two")):
        output = run(args=[group, "config"]).output
        assert f"namespace: {namespace}\n" in output
        assert f"127.0.0.1:{proxy.port}/0" in output
        prefix = "REDIS_" if group == "redis" else "REDIS2_"
        assert f"\n{prefix}URL " in output
        for command in ("ping", "info", "features"):
            result = run(args=[group, command])
            assert result.exit_code == 0
            assert f"127.0.0.1:{proxy.port}" in result.output
        assert run(args=[group, "worker", "--burst"]).exit_code == 0
    assert "kit 'two'" in run(args=["redis-two", "--help"]).output
    app.register_blueprint(one.health_blueprint())
    app.register_blueprint(two.health_blueprint(url_prefix="/two"))
    browser = app.test_client()
    for path, proxy in (("/health", first), ("/two/health", second)):
        (figures,) = browser.get(path).get_json()["servers"]
        assert figures["address"] == f"127.0.0.1:{proxy.port}/0"


def test_a_job_is_run_by_the_worker_of_its_own_kit(pair: Pair) -> None:
    app, one, two, *_ = pair
    ran: list[str] = []
    for kit in (one, two):

        def task(kit: RedisKit = kit) -> None:
            ran.append(kit.name)

        kit.queue.task(name="note")(task)
    with app.app_context():
        two.queue.enqueue("note", {})
    run = app.test_cli_runner().invoke
    assert run(args=["redis", "worker", "--burst"]).exit_code == 0
    assert ran == []
    assert run(args=["redis-two", "worker", "--burst"]).exit_code == 0
    assert ran == ["two"]


def test_two_kits_share_the_embedded_server_of_their_application(tmp_path: Any) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(REDIS_URL="embedded://", REDIS2_URL="embedded://")
    one, two = RedisKit(app), RedisKit(app, name="two", config_prefix="REDIS2")
    with app.app_context():
        one.client.set("a", 1, ex=10)
        assert two.client.get("a") == b"1"
        assert one.health()[0].version == two.health()[0].version
        one.close()
        assert two.client.get("a") == b"1"
        two.close()
