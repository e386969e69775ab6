"""``get_many``, ``set_many``, ``delete_many``: as each alone, in one trip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context

import pytest
import redis
from flask import Flask

from flask_redis_kit import CodecError, RedisKit
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy

KEYS = [f"k{n}" for n in range(40)]


def test_what_was_set_together_is_found_together_and_alone(kit: RedisKit) -> None:
    stored = kit.cache.set_many({key: n for n, key in enumerate(KEYS)}, ttl=100, tags=["t"])
    assert stored == dict.fromkeys(KEYS, True)
    found = kit.cache.get_many(["absent", *reversed(KEYS), "k0"])
    assert found == {key: n for n, key in enumerate(KEYS)}
    assert list(found) == list(reversed(KEYS)), "in the order of the question"
    assert kit.cache.get("k7") == 7
    kit.cache.delete("k7")
    assert "k7" not in kit.cache.get_many(KEYS)
    kit.cache.invalidate_tags("t")
    assert kit.cache.get_many(KEYS) == {}


def test_none_is_a_value_that_is_found(kit: RedisKit) -> None:
    kit.cache.set("k", None)
    assert kit.cache.get_many(["k", "l"]) == {"k": None}


def test_nothing_asked_is_nothing_sent(kit: RedisKit, proxy: Proxy) -> None:
    with proxy.counting() as count:
        assert kit.cache.get_many([]) == {}
        assert kit.cache.set_many({}) == {}
        assert kit.cache.delete_many([]) == 0
    assert count.trips == 0


@pytest.mark.standalone("the trips to several nodes overlap; the proxy counts one server")
def test_each_is_one_trip(warmed: RedisKit, make_kit: MakeKit, proxy: Proxy) -> None:
    def trips(operation: Callable[[], object]) -> int:
        with proxy.counting() as count:
            operation()
        return count.trips

    values: dict[str, object] = dict.fromkeys(KEYS, "x")
    assert trips(lambda: warmed.cache.get_many(KEYS)) == 1
    assert trips(lambda: warmed.cache.set_many(values, tags=["t", "u"])) == 1, "after misses"
    assert trips(lambda: warmed.cache.get_many(KEYS)) == 1
    assert trips(lambda: warmed.cache.set_many(values)) == 1, "without"
    assert trips(lambda: warmed.cache.delete_many(KEYS)) == 1
    assert trips(lambda: warmed.cache.add("k", 1)) == 1
    assert trips(lambda: warmed.cache.touch("k", 100)) == 1
    assert trips(lambda: warmed.cache.has("k")) == 1
    assert trips(lambda: warmed.cache.incr("n", tags=["t"])) == 1
    assert trips(lambda: warmed.cache.invalidate_prefix("p")) == 1
    warmed.cache.set_many(values, tags=["t", "u"])
    other = make_kit(proxy.url)
    other.cache.get("unrelated")
    assert trips(lambda: other.cache.get_many(KEYS)) == 2, "it learns the values' tags"
    assert trips(lambda: other.cache.get_many(KEYS)) == 1


@pytest.mark.parametrize("inside", [True, False], ids=["in a request", "outside"])
def test_of_many_misses_each_value_is_refused_that_was_invalidated_since(
    kit: RedisKit, app: Flask, inside: bool
) -> None:
    def program() -> None:
        assert kit.cache.get_many(KEYS) == {}
        kit.cache.invalidate_tags("t")
        kit.cache.delete("k3")
        assert kit.cache.set("k0", "stale", tags=["t"]) is False
        stored = kit.cache.set_many(dict.fromkeys(KEYS[1:4], 1))
        assert stored == {"k1": True, "k2": True, "k3": False}
        assert not any(kit.cache.set_many(dict.fromkeys(KEYS[4:], 1), tags=["t"]).values())
        assert kit.cache.get_many(KEYS) == {"k1": 1, "k2": 1}

    if inside:
        with app.test_request_context():
            program()
    else:
        copy_context().run(program)


def test_tasks_do_not_take_each_others_misses(kit: RedisKit) -> None:
    stored: dict[str, bool] = {}

    async def compute(name: str, missed: asyncio.Event, go_on: asyncio.Event) -> None:
        kit.cache.get_many(["k", "l"])
        missed.set()
        await go_on.wait()
        stored[name] = kit.cache.set_many({"k": name}, tags=["t"])["k"]

    async def program() -> None:
        missed, go_on = asyncio.Event(), asyncio.Event()
        older = asyncio.create_task(compute("older", missed, go_on))
        await missed.wait()
        kit.cache.invalidate_tags("t")
        at_once = asyncio.Event()
        at_once.set()
        await asyncio.create_task(compute("newer", asyncio.Event(), at_once))
        go_on.set()
        await older

    asyncio.run(program())
    assert stored == {"newer": True, "older": False}
    assert kit.cache.get("k") == "newer"


def test_thousands_of_misses_are_remembered_outside_of_a_request(
    make_kit: MakeKit, proxy: Proxy
) -> None:
    kit = make_kit(proxy.url, REDIS_SOCKET_TIMEOUT=30)  # a large trip on a busy machine

    def program() -> None:
        keys = [f"key {n}" for n in range(3000)]
        kit.cache.get_many(keys)
        kit.cache.invalidate_tags("t")
        assert not any(kit.cache.set_many(dict.fromkeys(keys, 1), tags=["t"]).values())

    copy_context().run(program)


def test_one_value_that_cannot_be_stored_stops_all(kit: RedisKit, proxy: Proxy) -> None:
    with proxy.counting() as count, pytest.raises(CodecError, match="The value for 'l' can't"):
        kit.cache.set_many({"k": 1, "l": object(), "m": 2})
    assert count.trips == 0


def test_one_that_cannot_be_read_is_absent_and_the_others_are_found(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    kit.cache.set("k", 1)
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    kit.cache.set("l", 2)
    redis_client.delete(key)
    redis_client.rpush(key, "x")
    assert kit.cache.get_many(["k", "l"]) == {"l": 2}
    redis_client.delete(key)


def test_how_many_were_there_is_told(kit: RedisKit) -> None:
    kit.cache.set_many({"a": 1, "b": 2})
    assert kit.cache.delete_many(["a", "b", "a", "c"]) == 2
    assert kit.cache.get_many(["a", "b"]) == {}


def test_a_key_that_is_no_string_is_named(kit: RedisKit) -> None:
    for operation in (
        lambda: kit.cache.get_many(["a", 1]),  # type: ignore[list-item]
        lambda: kit.cache.set_many({"a": 1, 1: 2}),  # type: ignore[dict-item]
        lambda: kit.cache.delete_many([1]),  # type: ignore[list-item]
        lambda: kit.cache.has(1),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="A cache key must be a string, not 1"):
            operation()
