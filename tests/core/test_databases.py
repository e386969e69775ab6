"""REDIS_DATABASES: further connections of an application, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Flask

from flask_redis_kit import ConfigError, RedisKit
from flask_redis_kit.core.url import Endpoint
from tests.harness.servers import Server


@pytest.fixture
def kits() -> Iterator[list[RedisKit]]:
    """Kits to close at the end."""
    made: list[RedisKit] = []
    yield made
    for kit in made:
        kit.close()


def make(kits: list[RedisKit], databases: object, **settings: Any) -> RedisKit:
    app = Flask("shop")
    app.config.update(settings, REDIS_DATABASES=databases)
    kits.append(RedisKit(app))
    kits[-1].app = app  # type: ignore[attr-defined]  # the state goes with the application
    return kits[-1]


def endpoint(kit: RedisKit, name: str) -> Endpoint:
    return kit.state().databases.connector(name).settings.endpoint


def test_a_database_by_url_number_settings_or_the_name_of_another(
    kits: list[RedisKit], server: Server
) -> None:
    kit = make(
        kits,
        {
            "url": f"redis://127.0.0.1:{server.port}/1",
            "number": 2,
            "text": "3",
            "settings": {
                "host": "127.0.0.1",
                "port": str(server.port),
                "db": 4,
                "decode_responses": "yes",
            },
            "socket": {"unix_socket_path": server.socket_path, "db": 5},
            "alias": "of-alias",
            "of-alias": "number",
            "own": "default",
        },
        REDIS_URL=server.url,
    )
    with server.client(db=4) as client:
        client.set("where", "4", ex=10)
    for name, db in (
        ("url", 1),
        ("number", 2),
        ("text", 3),
        ("socket", 5),
        ("alias", 2),
        ("own", 0),
        ("default", 0),
    ):
        client = kit.connection(name)
        assert isinstance(client, redis.Redis)
        client.set("where", db, ex=10)
        with server.client(db=db) as plain:
            assert plain.get("where") == str(db).encode()
    assert kit.connection("settings").get("where") == "4"
    assert kit.connection("alias") is kit.connection("number")
    assert kit.connection("own") is kit.connection("default") is kit.client


def test_the_number_of_a_database_is_on_the_kits_own_server_with_its_credentials(
    kits: list[RedisKit],
) -> None:
    kit = make(
        kits,
        {"scratch": 2, "reader": {"username": "reader", "password": "other", "db": 3}},
        REDIS_URL="rediss://u:pw@h:7/1?client_name=shop",
    )
    scratch, reader = endpoint(kit, "scratch"), endpoint(kit, "reader")
    assert (scratch.hosts, scratch.tls, scratch.db) == ((("h", 7),), True, 2)
    assert (scratch.username, scratch.password) == ("u", "pw")
    assert (reader.hosts, reader.db, reader.username, reader.password) == (
        (("h", 7),),
        3,
        "reader",
        "other",
    )
    assert reader.option("client_name", None) == "shop"


def test_another_server_gets_the_kits_timeouts_but_never_its_password(
    kits: list[RedisKit],
) -> None:
    databases = {
        "url": "redis://elsewhere",
        "settings": {"host": "elsewhere", "socket_timeout": "2"},
        "sentinel": {"sentinel_hosts": "a,b:5", "sentinel_master": "main"},
    }
    kit = make(
        kits,
        databases,
        REDIS_HOST="h",
        REDIS_DB=3,
        REDIS_USERNAME="u",
        REDIS_PASSWORD="pw",
        REDIS_SSL=True,
        REDIS_SOCKET_TIMEOUT=1.5,
    )
    for name in databases:
        found = endpoint(kit, name)
        assert (found.username, found.password, found.db, found.tls) == (None, None, 0, False)
    connectors = {name: kit.state().databases.connector(name) for name in databases}
    assert connectors["url"].settings.socket_timeout == 1.5
    assert connectors["settings"].settings.socket_timeout == 2
    assert endpoint(kit, "sentinel").service == "main"


def test_a_database_of_a_private_embedded_server_is_on_the_same_server(
    kits: list[RedisKit],
) -> None:
    kit = make(kits, {"scratch": 2}, REDIS_URL="embedded://?private=1")
    kit.client.set("a", "0")
    kit.connection("scratch").set("a", "2")
    assert (kit.client.get("a"), kit.connection("scratch").get("a")) == (b"0", b"2")
    servers = [c.info("server")["run_id"] for c in (kit.client, kit.connection("scratch"))]
    assert servers[0] == servers[1]


def test_an_unknown_name_lists_the_known_ones_and_the_cure(kits: list[RedisKit]) -> None:
    kit = make(kits, {"reports": 1, "archive": 2})
    with pytest.raises(ConfigError) as caught:
        kit.connection("repotrs")
    assert "'default', 'reports', 'archive'" in str(caught.value)
    assert "REDIS_DATABASES = {'repotrs': " in str(caught.value)
    other = RedisKit(kit.app, name="two", config_prefix="OTHER")
    with pytest.raises(ConfigError, match="OTHER_DATABASES"):
        other.connection("reports")


@pytest.mark.parametrize(
    ("databases", "said"),
    [
        ({"a": "b", "b": "c", "c": "a"}, "'a' -> 'b' -> 'c' -> 'a' goes in a circle"),
        ({"a": "a"}, "'a' -> 'a' goes in a circle"),
        ({"a": "repotrs", "reports": 1}, "Did you mean 'reports'?"),
        ({"a": "localhost:6379"}, "A URL begins with redis://"),
        ({"a": "http://h"}, "REDIS_DATABASES['a']: Unknown scheme 'http'"),
        ({"a": "redis://h?sokcet_timeout=1"}, "'socket_timeout'"),
        ({"a": -1}, "-1 is no number of a database"),
        ({"a": True}, "REDIS_DATABASES['a']: A bool is no connection"),
        ({"a": 1.5}, "A float is no connection"),
        ({"a": None}, "A NoneType is no connection"),
        ({"a": {"hots": "h"}}, "REDIS_DATABASES['a']: 'hots' is no setting of a connection. Did"),
        ({"a": {"namespace": "x"}}, "'namespace' is no setting of a connection"),
        ({"a": {"host": "h", "port": "many"}}, "REDIS_DATABASES['a']: port='many'"),
        ({"a": {"host": "h", "port": 70000}}, "REDIS_DATABASES['a']: port=70000"),
        ({"a": {"host": "h:1"}}, "a port goes into port, a whole URL into url"),
        ({"a": {"url": "nonsense"}}, "REDIS_DATABASES['a']: url: The URL has no scheme"),
        ({"a": {"host": "h", "socket_timeout": 0}}, "socket_timeout must be more than 0"),
        ({"a": {"host": "h", "url": "redis://h"}}, "by url and by host"),
        ({"a": {"port": 1}}, "port needs a host"),
        ({"a": {"host": "h", "options": {"nonsense": 1}}}, "'nonsense'"),
        ({"default": 1}, "'default' is the kit's own connection"),
        ({"": 1}, "can't name a connection"),
        ({"1": 1}, "can't name a connection"),
        ({1: 1}, "can't name a connection"),
        ("redis://h", "REDIS_DATABASES"),
        (["redis://h"], "REDIS_DATABASES"),
    ],
)
def test_a_wrong_entry_is_named_at_init_app(databases: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make([], databases)
    assert said in str(caught.value)
    assert caught.value.key == "REDIS_DATABASES"


def test_a_cluster_has_no_further_databases() -> None:
    with pytest.raises(ConfigError, match="only database 0"):
        make([], {"a": 1}, REDIS_URL="redis+cluster://h")


@pytest.mark.parametrize(
    "databases",
    [
        {"a": "redis://:sesame@h:port"},
        {"a": "user:sesame@h"},
        {"a": {"host": "h", "password": ["sesame"]}},
        {"a": {"host": "h", "pasword": "sesame"}},
        {"a": {"url": "redis://:sesame@h?nonsense=1"}},
        "redis://:sesame@h",
    ],
)
def test_a_wrong_entry_shows_no_secret(databases: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make([], databases)
    assert "sesame" not in str(caught.value)


def test_the_commands_show_the_databases_without_their_secrets(kits: list[RedisKit]) -> None:
    kit = make(
        kits,
        {
            "reports": "redis://u:sesame@r:1/2",
            "archive": {
                "host": "h",
                "password": "sesame",
                "options": {"client_name": "sesame"},
            },
            "scratch": 5,
            "statistics": "reports",
        },
        REDIS_URL="redis://:sesame@own",
    )
    output = kit.app.test_cli_runner().invoke(args=["redis", "config"]).output
    assert "sesame" not in output
    assert "'reports': 'redis://u:***@r:1/2'" in output
    assert "'host': 'h', 'password': '***'" in output
    assert "'statistics': 'reports'" in output
    assert "database reports: r:1/2\n" in output
    assert "database scratch: own:6379/5\n" in output
    assert "database statistics: r:1/2\n" in output
    assert "sesame" not in repr(kit.state().core)
