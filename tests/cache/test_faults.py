"""Corrupt values, wrong types, a server that is gone: a miss, never a 500."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import redis
from flask import Flask

from flask_redis_kit import RedisKit, cache_result
from flask_redis_kit.cache.envelope import unpack
from tests.cache.conftest import MakeKit
from tests.cache.test_route import was_hit
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

Spoil = Callable[[redis.Redis, bytes, bytes], object]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda client, key, _: client.set(key, b"", keepttl=True),
        lambda client, key, _: client.set(key, b"garbage", keepttl=True),
        lambda client, key, _: client.set(key, b"x" * 200, keepttl=True),
        lambda client, key, old: client.set(key, old[:-1], keepttl=True),
        lambda client, key, old: client.set(key, old[:20], keepttl=True),
        lambda client, key, _: client.setrange(key, 1, b"\x10"),
        lambda client, key, _: client.setrange(key, 1, b"\x21"),
        lambda client, key, old: client.setrange(key, unpack(old, b"").start, b"\x99"),
        lambda client, key, old: client.setrange(key, unpack(old, b"").start, b"\x80"),
        lambda client, key, _: client.setrange(key, 1, b"\x28"),
        lambda client, key, _: client.delete(key) and client.rpush(key, "x"),
        lambda client, key, _: client.delete(key) and client.hset(key, "x", "y"),
    ],
    ids=[
        *("empty", "garbage", "long garbage", "cut payload", "cut header", "other version"),
        *("other flags", "other codec", "pickle", "unknown flags"),
        *("a list", "a hash"),
    ],
)
@pytest.mark.parametrize("kind", ["function", "route", "by hand"])
def test_a_value_that_cannot_be_read_counts_as_absent(
    kind: str,
    spoil: Spoil,
    kit: RedisKit,
    app: Flask,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @kit.cache.cache_result()
    def value() -> list[int]:
        return [1, 2]

    @app.get("/")
    @cache_result()
    def page() -> str:
        return "x"

    client = app.test_client()
    if kind == "function":
        value()
    elif kind == "route":
        client.get("/")
    else:
        kit.cache.set("k", [1, 2])
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    old = redis_client.get(key)
    assert isinstance(old, bytes)
    spoil(redis_client, key, old)
    for _ in range(2):
        if kind == "function":
            assert value() == [1, 2]
        elif kind == "route":
            assert client.get("/").text == "x"
        else:
            assert kit.cache.get("k", [1, 2]) == [1, 2]
    assert len(caplog.messages) == 1
    assert "can't be read and counts as absent" in caplog.messages[0]
    if kind == "by hand":
        assert kit.cache.set("k", 5)
        assert kit.cache.get("k") == 5
    else:
        assert redis_client.type(key) == b"string"  # it was replaced by the next computation
        assert was_hit(client.get("/")) or kind == "function"


def test_a_stored_value_that_is_no_response_counts_as_absent(
    kit: RedisKit, app: Flask, redis_client: redis.Redis
) -> None:
    app.add_url_rule("/", "page", cache_result()(lambda: "x"))
    app.test_client().get("/")
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    old = redis_client.get(key)
    assert isinstance(old, bytes)
    for value in (5, "abc", (1, 2), ("200 OK", 5, b"")):
        payload = kit.codec.encode(value)
        redis_client.set(key, old[: unpack(old, b"").start] + payload, keepttl=True)
        assert not was_hit(app.test_client().get("/"))


def test_a_key_without_its_ttl_counts_as_absent(kit: RedisKit, redis_client: redis.Redis) -> None:
    kit.cache.set("k", 1)
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    redis_client.persist(key)
    assert kit.cache.get("k") is None
    kit.cache.set("k", 1)


def test_a_log_of_a_wrong_type_means_computing_until_clear(
    kit: RedisKit, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def value() -> int:
        calls.append(1)
        return 1

    value()
    for log in kit.cache.engine().shards.logs():
        redis_client.set(log, "not a zset", ex=100)
    assert [value(), value()] == [1, 1]
    assert len(calls) == 3
    assert kit.cache.get("k", 2) == 2
    assert kit.cache.set("k", 2) is False
    assert len(caplog.messages) == 2, "one about reading, one about storing"
    kit.cache.clear()
    assert [value(), value()] == [1, 1]
    assert len(calls) == 4


def test_a_result_that_cannot_be_stored_is_returned_and_warned_about_once(
    kit: RedisKit, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    @kit.cache.cache_result()
    def strange(n: int) -> object:
        return object()

    @kit.cache.cache_result()
    def large() -> bytes:
        return b"x" * 5_000_001

    for _ in range(2):
        assert type(strange(1)) is object
        assert len(large()) == 5_000_001
    assert len(caplog.messages) == 2
    assert "strange: its result is not cached" in caplog.messages[0]
    assert (
        "large: a result of 5000007 bytes is not cached: REDIS_CACHE_MAX_BYTES is 5000000"
        in (caplog.messages[1])
    )
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))


def test_scripts_flushed_at_any_moment_harm_nothing(
    warmed: RedisKit, redis_client: redis.Redis
) -> None:
    calls: list[int] = []

    @warmed.cache.cache_result(tags=["t"])
    def value() -> int:
        redis_client.script_flush()
        calls.append(1)
        return len(calls)

    for n in range(1, 4):
        redis_client.script_flush()
        assert value() == n
        assert value() == n
        redis_client.script_flush()
        warmed.cache.invalidate_tags("t")
        redis_client.script_flush()
        assert warmed.cache.get("k") is None
        assert warmed.cache.set("k", n)
        redis_client.script_flush()
        assert warmed.cache.delete("k")


def test_without_a_server_everything_is_computed_and_said_once(
    kit: RedisKit, app: Flask, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def value() -> int:
        calls.append(1)
        return len(calls)

    @app.get("/")
    @cache_result()
    def page() -> str:
        return "x"

    value()
    proxy.refuse()
    proxy.cut()
    caplog.set_level(logging.WARNING, "flask_redis_kit.cache")
    assert [value(), value()] == [2, 3]
    for method in (app.test_client().get, app.test_client().head):
        assert method("/").status_code == 200
    assert kit.cache.get("k", 5) == 5
    assert kit.cache.set("k", 5) is False
    assert caplog.messages[0].startswith("The cache goes on without reading: ")
    assert [message.split(":")[0] for message in caplog.messages] == [
        "The cache goes on without reading",
        "The cache goes on without storing",
    ]


@pytest.mark.parametrize("after", [1, 2])
def test_a_server_that_goes_away_while_computing_costs_only_the_store(
    after: int, kit: RedisKit, app: Flask, proxy: Proxy
) -> None:
    def away() -> None:
        proxy.refuse()
        proxy.cut()

    @kit.cache.cache_result()
    def value() -> str:
        away()
        return "x"

    @app.get("/")
    @cache_result()
    def page() -> str:
        away()
        return "x"

    assert (value() if after == 1 else app.test_client().get("/").text) == "x"


def test_a_full_server_means_computing(kit: RedisKit, redis_client: redis.Redis) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def value() -> int:
        calls.append(1)
        return 1

    redis_client.config_set("maxmemory", "1")
    try:
        assert [value(), value()] == [1, 1]
        assert kit.cache.get("k", 2) == 2
        assert kit.cache.set("k", 2) is False
    finally:
        redis_client.config_set("maxmemory", "0")
    assert len(calls) == 2


def test_a_server_restarted_empty_is_a_cold_cache(kit: RedisKit, server: Server) -> None:
    kit.cache.set("k", 1)
    server.kill()
    server.start()
    assert kit.cache.get("k") is None
    assert kit.cache.set("k", 2)
    assert kit.cache.get("k") == 2


def test_the_off_switch(make_kit: MakeKit, proxy: Proxy) -> None:
    kit = make_kit(proxy.url, REDIS_CACHE_ENABLED=False)
    calls: list[int] = []

    @kit.state().app.get("/")
    @cache_result()
    def page() -> str:
        calls.append(1)
        return "x"

    @kit.cache.cache_result()
    def value(what: object) -> int:
        calls.append(1)
        return 1

    for _ in range(2):
        assert "Cache-Status" not in kit.state().app.test_client().get("/").headers
        assert value(object()) == 1
    assert len(calls) == 4
    assert kit.cache.set("k", 1) is False
    assert kit.cache.get("k", 5) == 5
    assert kit.cache.delete("k") is False
    assert kit.cache.invalidate_tags("t") == 0
    kit.cache.clear()
    assert proxy.trips == 0


def test_two_applications_with_one_kit_do_not_see_each_other(
    redis_url: str, redis_client: redis.Redis
) -> None:
    kit = RedisKit(features=("cache",))
    shop, blog, off = Flask("shop"), Flask("blog"), Flask("off")
    off.config["REDIS_CACHE_ENABLED"] = False
    blog.config["REDIS_CACHE_DEFAULT_TTL"] = 50
    calls: list[str] = []
    name = ""

    @kit.cache.cache_result(tags=["t"])
    def value() -> str:
        calls.append(name)
        return name

    for app in (shop, blog, off):
        app.config["REDIS_URL"] = redis_url
        kit.init_app(app)
    for app in (shop, blog, off, shop, blog, off):
        name = app.name
        with app.app_context():
            assert value() == name
    assert calls == ["shop", "blog", "off", "off"]
    with shop.app_context():
        kit.cache.invalidate_tags("t")
        assert "frk:{shop:" in value.cache_key()
    with blog.app_context():
        assert value() == "blog"
        assert 37_500 < redis_client.pttl(value.cache_key()) <= 50_000
    assert len(calls) == 4
    for app in (shop, blog, off):
        with app.app_context():
            kit.close()


def test_a_cache_on_a_server_of_its_own(
    make_kit: MakeKit, redis_url: str, own_server: Callable[..., Server]
) -> None:
    other = own_server()
    kit = make_kit(redis_url, REDIS_CACHE_URL=other.url)
    kit.cache.set("k", 1)
    with other.client() as client:
        assert client.dbsize() == 2
    assert kit.client.dbsize() == 0
