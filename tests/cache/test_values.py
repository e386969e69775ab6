"""``kit.cache.set/add/touch/has``: what each means where a value is there, stale or invalidated."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
import redis
from flask import Flask

from flask_redis_kit import CodecError, ConfigError, RedisKit
from flask_redis_kit.cache.envelope import unpack
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy
from tests.waiting import wait_until

INVALIDATIONS: dict[str, Callable[[RedisKit], object]] = {
    "delete": lambda kit: kit.cache.delete("k"),
    "tag": lambda kit: kit.cache.invalidate_tags("t"),
    "soft": lambda kit: kit.cache.invalidate_tags("t", soft=True),
    "clear": lambda kit: kit.cache.clear(),
}
invalidated = pytest.mark.parametrize("invalidate", INVALIDATIONS.values(), ids=INVALIDATIONS)


def stored_key(client: redis.Redis) -> bytes:
    [key] = client.scan_iter("frk:*:cache:v:*")
    return bytes(key)


class Json:
    """A codec of the user's own."""

    def encode(self, value: object) -> bytes:
        return json.dumps(value).encode()

    def decode(self, data: bytes) -> object:
        return json.loads(data)


def test_add_stores_only_what_is_not_there(kit: RedisKit) -> None:
    assert kit.cache.add("k", 1, tags=["t"]) is True
    assert kit.cache.add("k", 2) is False
    assert kit.cache.get("k") == 1


@invalidated
def test_what_was_invalidated_is_not_there(
    invalidate: Callable[[RedisKit], object], kit: RedisKit
) -> None:
    kit.cache.set("k", 1, ttl=100, tags=["t"], grace=100)
    assert kit.cache.has("k") is True
    invalidate(kit)
    assert kit.cache.has("k") is False
    assert kit.cache.touch("k", 1000) is False
    assert kit.cache.get("k") is None
    assert kit.cache.add("k", 2) is True
    assert kit.cache.get("k") == 2


def test_of_many_that_add_one_stores(kit: RedisKit) -> None:
    kit.cache.set("k", 0, tags=["t"])
    kit.cache.invalidate_tags("t")
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda n: kit.cache.add("k", n), range(16)))
    assert stored.count(True) == 1
    assert kit.cache.get("k") == stored.index(True)


def test_an_add_whose_reply_is_lost_is_not_sent_again(warmed: RedisKit, proxy: Proxy) -> None:
    warmed.cache.add("other", 1)
    proxy.cut_after(1)
    with proxy.counting() as count:
        assert warmed.cache.add("k", 1) is False
    assert count.trips == 1
    assert warmed.cache.get("k") == 1, "it was stored, though nobody knew"


def test_a_set_whose_reply_is_lost_is_sent_again(warmed: RedisKit, proxy: Proxy) -> None:
    proxy.cut_after(1)
    with proxy.counting() as count:
        assert warmed.cache.set("k", 1) is True
    assert count.trips == 2
    assert warmed.cache.get("k") == 1


def test_what_the_log_has_forgotten_is_not_there(make_kit: MakeKit, proxy: Proxy) -> None:
    kit = make_kit(proxy.url, REDIS_CACHE_LOG_LIMIT=2)
    kit.cache.set_many({"k": 1, "n": 5}, tags=["t"])
    kit.cache.invalidate_tags(*(f"other {n}" for n in range(5)))
    kit.cache.invalidate_tags("one more")
    assert kit.cache.get("k") is None
    assert kit.cache.has("k") is False
    assert kit.cache.touch("k", 100) is False
    assert kit.cache.add("k", 2) is True
    assert kit.cache.incr("n") == 1


def test_a_value_past_its_time_is_taken_only_by_who_asks_for_it(kit: RedisKit) -> None:
    kit.cache.set("k", 1, ttl=0.001, grace=100)
    wait_until(lambda: kit.cache.get("k") is None, 5, "the end of its time")
    assert kit.cache.get("k", stale=True) == 1
    assert kit.cache.has("k") is False
    assert kit.cache.add("k", 2) is True
    assert kit.cache.get("k") == 2


def test_what_was_invalidated_softly_is_taken_only_by_who_asks_for_it(kit: RedisKit) -> None:
    kit.cache.set("k", 1, tags=["t"], grace=100)
    kit.cache.invalidate_tags("t", soft=True)
    assert kit.cache.get("k") is None
    assert kit.cache.get("k", stale=True) == 1
    kit.cache.invalidate_tags("t")
    assert kit.cache.get("k", stale=True) is None


def test_touch_moves_both_ends_and_no_moment(kit: RedisKit, redis_client: redis.Redis) -> None:
    kit.cache.set("k", 1, ttl=100, tags=["t"], grace=50)
    key = stored_key(redis_client)
    before = unpack(redis_client.get(key) or b"", b"")  # type: ignore[arg-type]  # bytes, as it decodes nothing
    assert kit.cache.touch("k", timedelta(seconds=1000)) is True
    after = unpack(redis_client.get(key) or b"", b"")  # type: ignore[arg-type]  # bytes, as it decodes nothing
    assert (after.fresh_ms, after.grace_ms) == (1_000_000, 50_000)
    assert 1_030_000 < redis_client.pttl(key) <= 1_050_000
    assert (after.nonce, after.seq, after.tags) == (before.nonce, before.seq, before.tags)
    assert kit.cache.get("k") == 1
    kit.cache.touch("k", 0.001)
    wait_until(lambda: kit.cache.get("k") is None, 5, "the end of its time")
    assert kit.cache.get("k", stale=True) == 1
    kit.cache.invalidate_tags("t")
    assert kit.cache.get("k", stale=True) is None


@pytest.mark.parametrize("ttl", [0, -1, True, "60"])
def test_a_time_that_is_none_is_refused(ttl: object, kit: RedisKit) -> None:
    for operation in (
        lambda: kit.cache.touch("k", ttl),  # type: ignore[arg-type]
        lambda: kit.cache.set("k", 1, ttl=ttl),  # type: ignore[arg-type]
        lambda: kit.cache.add("k", 1, ttl=ttl),  # type: ignore[arg-type]
        lambda: kit.cache.set_many({"k": 1}, ttl=ttl),  # type: ignore[arg-type]
        lambda: kit.cache.incr("k", ttl=ttl),  # type: ignore[arg-type]
    ):
        with pytest.raises((TypeError, ConfigError), match="ttl"):
            operation()
    with pytest.raises(ConfigError, match="grace"):
        kit.cache.set("k", 1, grace=-1)


def test_a_foreign_key_in_the_way_is_nothing_that_is_there(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    kit.cache.set("k", 1)
    key = stored_key(redis_client)
    for spoil in (
        lambda: redis_client.delete(key) and redis_client.rpush(key, "x"),
        lambda: redis_client.set(key, b"", px=10_000),
        lambda: redis_client.set(key, b"x" * 100, px=10_000),
        lambda: redis_client.set(key, b"\xfc\x20" + b"\xff" * 60, px=10_000),
        lambda: redis_client.setrange(key, 0, b"\xfb"),  # it is there but for this byte
        lambda: redis_client.setrange(key, 1, b"\x30"),
    ):
        spoil()
        assert kit.cache.has("k") is False
        assert kit.cache.touch("k", 100) is False
        assert kit.cache.add("k", 2) is True
        assert kit.cache.get("k") == 2


def test_a_codec_of_ones_own(kit: RedisKit) -> None:
    codec = Json()
    assert kit.cache.set("k", {"a": [1]}, codec=codec) is True
    assert kit.cache.get("k", codec=codec) == {"a": [1]}
    assert kit.cache.get("k") is None, "not readable by the kit's own"
    assert kit.cache.get_many(["k"], codec=codec) == {"k": {"a": [1]}}
    kit.cache.set("k", 1)
    assert kit.cache.get("k", "absent", codec=codec) == "absent"
    with pytest.raises(CodecError, match=r"The value for 'k' can't be stored\. The codec Json"):
        kit.cache.set("k", object(), codec=codec)


def test_what_makes_no_bytes_is_no_codec(kit: RedisKit) -> None:
    class Wrong(Json):
        def encode(self, value: object) -> bytes:
            return "text"  # type: ignore[return-value]

    with pytest.raises(CodecError, match=r"Wrong\.encode\(\) must make bytes, not str"):
        kit.cache.set("k", 1, codec=Wrong())


def test_get_or_set_computes_what_is_not_there(kit: RedisKit) -> None:
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        return len(calls)

    assert kit.cache.get_or_set("k", compute, ttl=100, tags=["t"]) == 1
    assert kit.cache.get_or_set("k", compute) == kit.cache.get("k") == 1
    kit.cache.invalidate_tags("t")
    assert kit.cache.get_or_set("k", compute, tags=["t"], grace=100) == 2
    kit.cache.invalidate_tags("t", soft=True)
    with pytest.raises(ZeroDivisionError):
        kit.cache.get_or_set("absent", lambda: 1 // 0)
    assert kit.cache.get_or_set("k", lambda: 1 // 0, tags=["t"]) == 2, "in its grace period"
    assert kit.cache.get_or_set("k", compute, tags=["t"]) in (2, 3)


def test_get_or_set_with_an_async_def(kit: RedisKit) -> None:
    calls: list[int] = []

    async def compute(amount: int = 1) -> int:
        calls.append(amount)
        await asyncio.sleep(0)
        return len(calls)

    async def program() -> list[int]:
        return list(await asyncio.gather(*(kit.cache.get_or_set("k", compute) for _ in range(5))))

    async def other() -> int:
        return await kit.cache.get_or_set("l", partial(compute, 7))

    assert asyncio.run(program()) == [1] * 5
    assert asyncio.run(other()) == 2
    with pytest.raises(TypeError, match="not a lambda that calls it"):
        kit.cache.get_or_set("m", lambda: compute(1))
    assert calls == [1, 7]


def test_what_get_or_set_cannot_store_is_returned(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    value = object()
    for _ in range(3):
        assert kit.cache.get_or_set("k", lambda: value) is value
    [warning] = caplog.records
    assert warning.message.startswith("kit.cache.get_or_set(…, test_what_get_or_set_cannot_store_")
    assert "its result is not cached" in warning.message


def test_a_set_ends_what_is_being_computed(kit: RedisKit) -> None:
    began, go_on = threading.Event(), threading.Event()

    def compute() -> str:
        began.set()
        assert go_on.wait(60)
        return "computed"

    with ThreadPoolExecutor(1) as pool:
        computed = pool.submit(kit.cache.get_or_set, "k", compute)
        assert began.wait(60)
        assert kit.cache.set("k", "set") is True
        go_on.set()
        assert computed.result(60) == "computed"
    assert kit.cache.get("k") == "set"


@pytest.mark.parametrize("method", ["get", "has", "set", "add", "touch", "get_many", "set_many"])
def test_without_a_server_nothing_is_there_or_stored(
    method: str, kit: RedisKit, proxy: Proxy
) -> None:
    calls: dict[str, tuple[Callable[[], object], object]] = {
        "get": (lambda: kit.cache.get("k", 5), 5),
        "has": (lambda: kit.cache.has("k"), False),
        "set": (lambda: kit.cache.set("k", 1), False),
        "add": (lambda: kit.cache.add("k", 1), False),
        "touch": (lambda: kit.cache.touch("k", 1), False),
        "get_many": (lambda: kit.cache.get_many(["k", "l"]), {}),
        "set_many": (lambda: kit.cache.set_many({"k": 1, "l": 2}), {"k": False, "l": False}),
    }
    operation, expected = calls[method]
    proxy.refuse()
    proxy.cut()
    assert operation() == expected


def test_errors_are_raised_where_they_are_wanted(make_kit: MakeKit, proxy: Proxy) -> None:
    kit = make_kit(proxy.url, REDIS_CACHE_ON_ERROR="raise")
    proxy.refuse()
    for operation in (
        lambda: kit.cache.get("k"),
        lambda: kit.cache.get_many(["k"]),
        lambda: kit.cache.set("k", 1),
        lambda: kit.cache.touch("k", 1),
        lambda: kit.cache.cache_result("x")(lambda: 1)(),
    ):
        with pytest.raises(redis.ConnectionError):
            operation()


def test_switched_off_nothing_is_there_or_sent(make_kit: MakeKit, proxy: Proxy) -> None:
    kit = make_kit(proxy.url, REDIS_CACHE_ENABLED=False)
    with proxy.counting() as count:
        assert kit.cache.set("k", 1) is False
        assert kit.cache.add("k", 1) is False
        assert kit.cache.get("k") is None
        assert kit.cache.has("k") is False
        assert kit.cache.touch("k", 1) is False
        assert kit.cache.incr("k", 3) == 3
        assert kit.cache.get_many(["k"]) == {}
        assert kit.cache.set_many({"k": 1}) == {"k": False}
        assert kit.cache.delete_many(["k"]) == 0
        assert kit.cache.get_or_set("k", lambda: 7) == 7
        kit.cache.invalidate_prefix("p")
    assert count.trips == 0


def test_two_applications_do_not_see_each_others_values(make_kit: MakeKit, proxy: Proxy) -> None:
    one, other = make_kit(proxy.url, name="one"), make_kit(proxy.url, name="other")
    one.cache.set("k", 1)
    one.cache.incr("n")
    assert other.cache.get_many(["k", "n"]) == {}
    assert other.cache.add("k", 2) is True
    assert one.cache.get("k") == 1


def test_a_kit_on_two_applications_keeps_their_misses_apart(proxy: Proxy) -> None:
    kit = RedisKit(features=("cache",))
    apps = [Flask("one"), Flask("other")]
    for app in apps:
        app.config.update(REDIS_URL=proxy.url, REDIS_NAMESPACE="shared")
        kit.init_app(app)
    with apps[0].app_context():
        kit.cache.get("k")
        kit.cache.invalidate_tags("t")
    with apps[1].app_context():
        assert kit.cache.set("k", 1, tags=["t"]) is True
        kit.close()
    with apps[0].app_context():
        kit.close()
