"""What can be lost or damaged between a look, a lease and a store: nothing stale, no error."""

from __future__ import annotations

import zlib

import pytest
import redis

from flask_redis_kit import RedisKit
from flask_redis_kit.cache.envelope import FIXED, unpack
from flask_redis_kit.cache.payload import COMPRESSED
from tests.cache.conftest import MakeKit
from tests.cache.flying import LIFETIME, PATIENT, Value
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

KIND_AT = 1
KIND = 0x20


def new() -> str:
    return "new"


def fails() -> str:
    raise LookupError


@pytest.fixture
def kit(make_kit: MakeKit, proxy: Proxy) -> RedisKit:
    """A kit that has time."""
    return make_kit(proxy.url, **PATIENT)


def stored(kit: RedisKit, what: str = "old") -> Value:
    value = Value(kit)
    assert value.get(lambda: what) == what
    value.calls.clear()
    return value


def flags_of(client: redis.Redis, value: Value) -> int:
    found = client.getrange(value.place.value, KIND_AT, KIND_AT)
    assert isinstance(found, bytes)
    return found[0] ^ KIND


def test_a_large_value_is_stored_compressed(kit: RedisKit, redis_client: redis.Redis) -> None:
    value = stored(kit, "x" * 100_000)
    assert flags_of(redis_client, value) == COMPRESSED
    assert redis_client.strlen(value.place.value) < 2000
    assert value.get(fails) == "x" * 100_000


def test_a_bomb_in_the_store_counts_as_absent(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    value = stored(make_kit(redis_url, REDIS_CACHE_MAX_BYTES=10_000, **PATIENT))
    old = redis_client.get(value.place.value)
    assert isinstance(old, bytes)
    bomb = zlib.compress(b"\x01\xc6\x02\x00\x00\x00" + b"\0" * 30_000_000, 9)
    head = bytearray(old[: unpack(old, b"").start])
    head[KIND_AT] = KIND | COMPRESSED
    redis_client.set(value.place.value, bytes(head) + bomb, keepttl=True)
    assert value.get(new) == "new"
    assert value.get(fails) == "new"
    assert "larger than REDIS_CACHE_MAX_BYTES, 10000" in caplog.text


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (0, b"F"),
        (KIND_AT, b"\x10"),  # another version
        (KIND_AT, b"\x30"),
        (KIND_AT, b"\x28"),  # a flag that isn't known
        (KIND_AT, b"\x21"),  # compressed, says it
        (12, b"\xff" * 7),  # of another log
        (19, b"\xff" * 6),  # later than the log
        (25, b"\x20"),  # more tags than there are bytes
    ],
)
def test_a_damaged_header_counts_as_absent(
    at: int, what: bytes, kit: RedisKit, redis_client: redis.Redis
) -> None:
    assert FIXED.size == 25
    value = stored(kit)
    redis_client.setrange(value.place.value, at, what)
    assert value.seen() is None
    assert value.get(new) == "new"
    assert value.get(fails) == "new"


def spoiled(client: redis.Redis, key: str) -> None:
    client.delete(key)
    client.rpush(key, "x")
    client.expire(key, 100)


def test_a_value_of_a_wrong_type_is_replaced(kit: RedisKit, redis_client: redis.Redis) -> None:
    value = stored(kit)
    spoiled(redis_client, value.place.value)
    assert value.get(new) == "new"
    assert value.get(fails) == "new"


def test_a_lease_of_a_wrong_type_means_computing(
    kit: RedisKit, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    value = Value(kit)
    spoiled(redis_client, value.place.lease)
    assert [value.get(new), value.get(new)] == ["new", "new"]
    assert len(value.calls) == 2
    assert len(caplog.messages) == 1
    redis_client.delete(value.place.lease)
    assert value.get(new) == value.get(fails) == "new"


def test_a_lease_that_becomes_another_type_while_computing_stores_nothing(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = Value(kit)

    def spoiling() -> str:
        spoiled(redis_client, value.place.lease)
        return "x"

    assert value.get(spoiling) == "x"
    redis_client.delete(value.place.lease)
    assert value.seen() is None
    assert not list(redis_client.scan_iter("frk:*:cache:w:*"))


def test_a_log_that_becomes_another_type_while_computing_stores_nothing(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = Value(kit)

    def spoiling() -> str:
        spoiled(redis_client, value.place.log)
        return "x"

    assert value.get(spoiling) == "x"
    assert not redis_client.exists(value.place.lease)
    kit.cache.clear()
    assert value.get(new) == value.get(fails) == "new"


def test_a_key_without_a_ttl_is_a_miss(kit: RedisKit, redis_client: redis.Redis) -> None:
    value = stored(kit)
    redis_client.persist(value.place.value)
    assert value.get(new) == "new"
    assert redis_client.pttl(value.place.value) > 0


def test_a_ttl_that_somebody_made_longer_harms_nothing(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = stored(kit)
    value.left(redis_client, LIFETIME.total_ms * 10)
    hit = value.hit(fails)
    assert hit.age_ms == 0
    assert hit.fresh_ms > LIFETIME.fresh_ms


def test_a_value_of_another_log_is_a_miss(kit: RedisKit, redis_client: redis.Redis) -> None:
    value = stored(kit)
    redis_client.zincrby(value.place.log, -2, "!n")
    assert value.seen() is None
    assert value.get(new) == value.get(fails) == "new"


def test_a_value_from_a_future_that_the_log_has_lost_is_a_miss(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    kit.cache.invalidate_tags("x")
    value = stored(kit)
    redis_client.zincrby(value.place.log, -1, "!s")
    assert value.seen() is None


def test_a_value_whose_invalidation_the_log_has_forgotten_is_a_miss(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_LOG_LIMIT=5, **PATIENT)
    value = stored(kit)
    kit.cache.invalidate_tags("t")
    kit.cache.invalidate_tags(*(f"noise:{n}" for n in range(6)))
    assert redis_client.zscore(value.place.log, "t:t") is None
    assert value.seen() is None
    assert value.get(new) == value.get(fails) == "new"


@pytest.mark.standalone("its one server is killed")
def test_a_server_killed_between_the_lease_and_the_store_costs_the_store_only(
    kit: RedisKit, server: Server
) -> None:
    value = Value(kit)

    def dying() -> str:
        server.kill()
        return "x"

    assert value.get(dying) == "x"
    server.start()
    assert value.seen() is None
    assert value.get(new) == value.get(fails) == "new"


@pytest.mark.standalone("its one server is killed")
def test_a_server_killed_and_started_empty_between_them_stores_nothing(
    kit: RedisKit, server: Server
) -> None:
    value = Value(kit)

    def reborn() -> str:
        server.kill()
        server.start()
        return "x"

    assert value.get(reborn) == "x"
    assert value.seen() is None
    assert value.get(new) == value.get(fails) == "new"


def test_memory_that_is_full_at_the_store_ends_the_lease_and_stores_nothing(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = Value(kit)

    def filling() -> str:
        redis_client.config_set("maxmemory", "1")
        return "x"

    try:
        assert value.get(filling) == "x"
    finally:
        redis_client.config_set("maxmemory", "0")
    assert not redis_client.exists(value.place.lease)
    assert value.get(new) == value.get(fails) == "new"


def test_memory_that_is_full_does_not_keep_stale_values_from_being_served(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = stored(kit)
    value.left(redis_client, 50_000)
    redis_client.config_set("maxmemory", "1")
    try:
        assert [value.get(fails) for _ in range(3)] == ["old"] * 3
    finally:
        redis_client.config_set("maxmemory", "0")
    assert value.get(new) == "new"


@pytest.mark.parametrize("lose", ["value", "log", "lease"])
def test_a_key_evicted_while_it_is_renewed_harms_nothing(
    lose: str, kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = stored(kit)
    value.left(redis_client, 50_000)

    def losing() -> str:
        redis_client.delete(getattr(value.place, lose))
        return "new"

    assert value.get(losing) == "new"
    again = Value(kit)
    assert again.get(lambda: "newer") in ("new", "newer", "old")
    assert again.get(fails) in ("new", "newer", "old")


def test_a_log_lost_between_the_look_and_the_lease_is_made_anew(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = stored(kit)
    value.left(redis_client, 50_000)
    flow = value._flow({})
    send = value.engine.context.send
    step = flow.send(send(next(flow)))
    redis_client.delete(value.place.log)
    for _ in range(2):
        step = flow.send(send(step))
    assert step.__class__.__name__ == "Compute"
    with pytest.raises(StopIteration):
        flow.send(send(flow.send("new")))
    assert value.get(fails) == "new"


def test_a_store_whose_reply_is_lost_is_sent_again_and_counts_once(
    kit: RedisKit, proxy: Proxy
) -> None:
    value = Value(kit)

    def breaking() -> str:
        proxy.cut_after(0)
        return "new"

    assert value.get(breaking) == "new"
    assert value.get(fails) == "new"
