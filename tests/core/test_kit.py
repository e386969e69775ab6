"""RedisKit: features by name, state per application, off switches, health, and its commands."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_redis_kit import ConfigError, Feature, NotInitialized, RedisKit
from tests.core.counter import CounterFeature
from tests.harness.leaks import Spec
from tests.harness.servers import Server, free_port


def make_app(name: str = "shop", **settings: Any) -> Flask:
    app = Flask(name)
    app.config.update(settings)
    return app


def test_init_app_connects_to_nothing_and_starts_no_thread() -> None:
    threads = threading.active_count()
    app = make_app(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    RedisKit(app)
    assert threading.active_count() == threads


def test_importing_the_package_does_no_io() -> None:
    code = (
        "import socket, threading, sys\n"
        "def refuse(*a, **k): raise AssertionError('I/O at import')\n"
        "socket.socket.connect = refuse\n"
        "import flask_redis_kit\n"
        "assert threading.active_count() == 1\n"
        "assert 'flask_session' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_these() -> None:
    import flask_redis_kit

    assert set(flask_redis_kit.__all__) == {
        "CircuitOpen",
        "CodecError",
        "ConfigError",
        "Context",
        "CrossSlotError",
        "Feature",
        "InvalidationError",
        "KeySpec",
        "NotInitialized",
        "RateLimitExceeded",
        "RedisKit",
        "RedisKitError",
        "RedisSessionInterface",
        "ServerError",
        "ServerUnavailable",
        "SessionStoreUnavailable",
        "TransactionError",
        "TransactionMisused",
        "TransactionPartial",
        "TransactionRefused",
        "TransactionUncertain",
        "cache_result",
        "rate_limit",
    }
    assert all(hasattr(flask_redis_kit, name) for name in flask_redis_kit.__all__)


def test_before_init_app_the_error_names_the_cure() -> None:
    with pytest.raises(NotInitialized, match=r"kit\.init_app\(app\)"):
        RedisKit().client  # noqa: B018  # the access is the test


def test_in_an_application_without_the_kit_the_error_names_it() -> None:
    one = make_app("one")
    kit = RedisKit(one)
    with make_app("two").app_context(), pytest.raises(NotInitialized, match="'two'"):
        kit.client  # noqa: B018


def test_a_second_kit_of_the_same_name_is_refused_with_the_cure() -> None:
    app = make_app()
    RedisKit(app)
    with pytest.raises(RuntimeError, match=r"name='\.\.\.'"):
        RedisKit(app)
    other = make_app("other")
    with pytest.raises(RuntimeError, match=r"has called init_app already: leave one of them out"):
        RedisKit(other).init_app(other)


def test_outside_a_context_the_only_application_is_meant(server: Server) -> None:
    app = make_app(REDIS_URL=server.url)
    kit = RedisKit(app)
    assert kit.client.ping()
    kit.client.set("frk-free", "1", ex=10)
    other = make_app("other", REDIS_URL=server.url)
    kit.init_app(other)
    with pytest.raises(NotInitialized, match="2 applications"):
        kit.client  # noqa: B018
    with other.app_context():
        assert kit.client.get("frk-free") == b"1"


def test_outside_a_context_an_application_that_was_closed_is_not_meant(server: Server) -> None:
    kit = RedisKit()
    apps = [make_app(name, REDIS_URL=server.url) for name in ("one", "two", "three")]
    for app in apps:  # as tests do, that make an application each
        kit.init_app(app)
        assert kit.state().app is app
        with app.app_context():
            kit.close()
    with pytest.raises(NotInitialized, match="3 applications"):
        kit.client  # noqa: B018  # none is open


def test_two_applications_share_a_kit_and_nothing_else(
    server: Server, extra_keyspace: list[Spec]
) -> None:
    extra_keyspace.extend(CounterFeature.keyspace)
    kit = RedisKit(features=())
    counter = kit.register(CounterFeature())
    one = make_app("one", REDIS_URL=server.url, REDIS_COUNTER_STEP="5")
    two = make_app("two", REDIS_URL=server.url)
    kit.init_app(one)
    kit.init_app(two)
    with one.app_context():
        assert counter.add("a") == 5
    with two.app_context():
        assert counter.add("a") == 1
        assert counter.context().config.step == 1
    with one.app_context():
        assert counter.read("a") == 5
        assert counter.engine() is counter.engine()


def test_features_are_picked_by_name() -> None:
    kit = RedisKit(make_app(), features=("cache", "queue"))
    assert kit.cache.name == "cache"
    with pytest.raises(AttributeError, match=r"RedisKit\(features="):
        kit.events  # noqa: B018
    with pytest.raises(ConfigError, match="there is no such feature"):
        RedisKit(features=("cash",))
    with pytest.raises(TypeError, match=r"features=\('cache',\)"):
        RedisKit(features="cache")


@pytest.mark.parametrize(
    ("name", "said"),
    [("cahce", r"\. Did you mean 'cache'\?$"), ("session", "'sessions'"), ("foo", "'foo'.$")],
)
def test_a_name_that_the_kit_has_not_says_which_was_meant(name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        getattr(RedisKit(), name)


def test_a_feature_belongs_to_one_kit() -> None:
    counter = CounterFeature()
    RedisKit(features=()).register(counter)
    with pytest.raises(NotInitialized, match="another kit"):
        RedisKit(features=()).register(counter)
    with pytest.raises(ConfigError, match="already"):
        RedisKit().register(type("Twice", (Feature,), {"name": "cache"})())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"REDIS_CACHE_TLL": 5}, "REDIS_CACHE_"),
        ({"REDIS_CACHE_TTL": 5}, "Did you mean REDIS_CACHE_DEFAULT_TTL?"),
        ({"REDIS_URL": "embeded://"}, "did you mean embedded://?"),
        ({"REDIS_PORT": "many"}, "REDIS_PORT='many'"),
        ({"REDIS_PORT": 70000, "REDIS_HOST": "h"}, "REDIS_PORT=70000"),
        ({"REDIS_MAX_CONNECTIONS": 0}, "REDIS_MAX_CONNECTIONS must be more than 0"),
        ({"REDIS_DECODE_RESPONSES": "perhaps"}, "use true or false"),
        ({"REDIS_NAMESPACE": "a b"}, "REDIS_NAMESPACE='a b'"),
        ({"REDIS_CACHE_ENABLED": "perhaps"}, "REDIS_CACHE_ENABLED"),
        ({"REDIS_CACHE_ON_ERROR": "x"}, "'x' is not known: use one of 'compute', 'raise'."),
        ({"REDIS_CLASS": dict}, "REDIS_CLASS"),
        (
            {"REDIS_CLASS": "shop.missing.Redis"},
            "REDIS_CLASS='shop.missing.Redis' can't be imported",
        ),
        ({"REDIS_SOCKET_TIMEOUT": -1}, "REDIS_SOCKET_TIMEOUT must be more than 0"),
        ({"REDIS_POOL_TIMEOUT": -1}, "REDIS_POOL_TIMEOUT must be 0 or more"),
        ({"REDIS_DB": -1}, "REDIS_DB must be 0 or more"),
        ({"REDIS_OPTIONS": {"sokcet_timeout": 1}}, "'sokcet_timeout'"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL: The URL has no scheme"),
        ({"REDIS_QUEUE_URL": "localhost:6379"}, "REDIS_QUEUE_URL: The URL has no scheme"),
        ({"REDIS_HOST": "h:6380"}, "a port goes into REDIS_PORT"),
        ({"REDIS_SOCKET_TIMEOUT": float("nan")}, "REDIS_SOCKET_TIMEOUT"),
    ],
)
def test_a_wrong_setting_is_named_at_init_app(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisKit(make_app(**settings))
    assert said in str(caught.value)
    assert caught.value.key in settings


def test_a_wrong_url_is_refused_at_init_app_with_its_password_masked() -> None:
    with pytest.raises(ConfigError) as caught:
        RedisKit(make_app(REDIS_URL="redis://:sesame@localhost:port/0"))
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"REDIS_URL": b"redis://:sesame@localhost/0"},
        {"REDIS_URL": ["redis://:sesame@localhost/0"]},
        {"REDIS_HOST": "redis://:sesame@localhost"},
        {"REDIS_HOST": "user:sesame@localhost"},
        {"REDIS_OPTIONS": [("password", "sesame")]},
        {"REDIS_PASSWORD": ["sesame"]},
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisKit(make_app(**settings))
    assert "sesame" not in str(caught.value)
    assert caught.value.key in settings


@pytest.mark.parametrize("host", ["my_redis", "10.0.0.1", "::1", "[::1]", "fe80::1%eth0", "a.b-c"])
def test_a_host_may_be_a_name_or_an_address(host: str) -> None:
    ((found, _),) = RedisKit(make_app(REDIS_HOST=host)).connector().settings.endpoint.hosts
    assert found == host.strip("[]")


def test_the_database_of_a_sentinel_url_beats_the_flat_key() -> None:
    url = "redis+sentinel://h/mymaster"
    kit = RedisKit()
    for given, db in ((f"{url}/3", 3), (f"{url}/0", 0), (f"{url}?db=4", 4), (url, 5)):
        app = make_app(REDIS_URL=given, REDIS_DB=5)
        kit.init_app(app)
        with app.app_context():
            assert kit.connector().settings.endpoint.db == db


def test_a_near_miss_among_plain_keys_is_warned_of_and_foreign_keys_are_not() -> None:
    with pytest.warns(UserWarning, match="Did you mean REDIS_SOCKET_TIMEOUT"):
        RedisKit(make_app(REDIS_SOCKET_TIMEOUTS=1))
    RedisKit(
        make_app(REDIS_SENTRY_DSN="x", REDISTRIBUTE=True, REDIS_QUEUE_NAMES="theirs"),
        features=("cache",),
    )


def test_a_near_miss_of_a_setting_that_is_named_as_elsewhere_is_warned_of_too() -> None:
    for key, meant in (
        ("SESSION_IDLE_TIMOUT", "SESSION_IDLE_TIMEOUT"),
        ("SESSION_MAX_PER_USERS", "SESSION_MAX_PER_USER"),
        ("SECRET_KEY_FALLBACK", "SECRET_KEY_FALLBACKS"),
    ):
        mistaken: dict[str, Any] = {key: 5}
        with pytest.warns(UserWarning, match=f"{key} is no setting.*Did you mean {meant}\\?"):
            RedisKit(make_app(**mistaken))
        RedisKit(make_app(**mistaken), features=("cache",))
    theirs = (
        *("SESSION_FILE_DIR", "SESSION_FILE_MODE", "SESSION_FILE_THRESHOLD", "SESSION_CACHELIB"),
        *("SESSION_MEMCACHED", "SESSION_MONGODB", "SESSION_SQLALCHEMY", "SESSION_DYNAMODB_TABLE"),
        *("SESSION_CLEANUP_N_REQUESTS", "SESSION_LIFETIME", "SECRET_TOKEN"),
    )
    RedisKit(make_app(SECRET_KEY="k", **dict.fromkeys(theirs, "x")))


def test_settings_as_text_from_an_environment_are_converted() -> None:
    app = make_app(REDIS_HOST="h", REDIS_PORT="7000", REDIS_SOCKET_TIMEOUT="1.5", REDIS_SSL="yes")
    kit = RedisKit(app)
    settings = kit.connector().settings
    assert settings.endpoint.hosts == (("h", 7000),)
    assert settings.endpoint.tls
    assert settings.socket_timeout == 1.5


def test_arguments_are_beaten_by_the_applications_settings() -> None:
    kit = RedisKit(url="redis://constructor/1", max_connections=3)
    app = make_app(REDIS_MAX_CONNECTIONS=5)
    kit.init_app(app, url="redis://argument/2")
    settings = kit.connector().settings
    assert settings.endpoint.hosts[0][0] == "argument"
    assert settings.max_connections == 5
    with pytest.raises(ConfigError, match="maxconn= is no argument"):
        RedisKit(maxconn=3)


def test_the_environment_gives_the_url_where_the_application_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://from-env/3")
    first, second = make_app(), make_app(REDIS_URL="redis://own/1")
    assert "from-env" in RedisKit(first).connector().address
    assert "own" in RedisKit(second).connector().address


def test_health_is_200_with_figures_and_503_when_the_server_is_gone(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    app = make_app(REDIS_URL=server.url)
    kit = RedisKit(app)
    app.register_blueprint(kit.health_blueprint())
    response = app.test_client().get("/health")
    figures = response.get_json()["servers"][0]
    assert response.status_code == 200
    assert figures["latency_ms"] > 0
    assert figures["role"] == "master"
    assert {"used_memory", "evicted_keys", "append_only_file", "last_save_ok"} <= set(figures)
    server.kill()
    response = app.test_client().get("/health")
    assert response.status_code == 503
    assert "REDIS_URL" in response.get_json()["servers"][0]["error"]
    assert response.headers["Cache-Control"] == "no-store"


def test_features_on_the_same_url_share_one_connector(server: Server) -> None:
    app = make_app(REDIS_URL=server.url, REDIS_CACHE_URL=server.url, REDIS_QUEUE_URL="redis://q/0")
    kit = RedisKit(app)
    with app.app_context():
        assert kit.cache.context().wire is kit.events.context().wire
        assert kit.queue.context().wire is not kit.cache.context().wire


def run(app: Flask, *arguments: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["redis", *arguments])
    return result.exit_code, result.output


def test_the_commands_show_the_server_and_its_settings(server: Server) -> None:
    app = make_app(
        REDIS_URL=f"redis://:sesame@127.0.0.1:{server.port}/0", REDIS_OPTIONS={"password": "sesame"}
    )
    RedisKit(app, client_name="me")
    code, output = run(app, "config")
    assert code == 0
    assert "sesame" not in output
    assert "app.config" in output
    assert "argument" in output
    assert "namespace: shop" in output
    code, output = run(app, "features")
    assert all(name in output for name in ("cache", "ratelimit", "sessions", "events", "queue"))
    code, output = run(app, "keys")
    assert code == 0
    assert "frk:{<ns>:" in output


def test_ping_and_info_tell_a_living_server_from_a_dead_one(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    app = make_app(REDIS_URL=server.url)
    RedisKit(app)
    code, output = run(app, "ping")
    assert code == 0
    assert "answers in" in output
    code, output = run(app, "info", "--json")
    assert json.loads(output)[0]["ok"] is True
    server.kill()
    code, output = run(app, "ping")
    assert code == 1
    assert "REDIS_URL=embedded://" in output
