"""Soft invalidation: what hangs on the tag is stale, and only a miss where it has no grace."""

from __future__ import annotations

from functools import partial

import pytest
import redis

from flask_redis_kit import RedisKit
from flask_redis_kit.cache.ttl import Lifetime
from tests.cache.conftest import MakeKit
from tests.cache.flying import PATIENT, Value, soften
from tests.harness.proxy import Proxy

NO_GRACE = Lifetime(60_000)


def new() -> str:
    return "new"


def fails() -> str:
    raise LookupError


@pytest.fixture
def kit(make_kit: MakeKit, proxy: Proxy) -> RedisKit:
    """A kit that has time."""
    return make_kit(proxy.url, **PATIENT)


def stored(value: Value, what: str = "old") -> Value:
    """The value, stored and not computed yet."""
    assert value.get(lambda: what, refresh=True) == what
    value.calls.clear()
    return value


def test_a_softly_invalidated_value_is_stale(kit: RedisKit) -> None:
    value, bystander = stored(Value(kit)), stored(Value(kit, "other", tags=("u",)))
    soften(kit, "t")
    hit = value.seen()
    assert hit is not None
    assert hit.fresh_ms <= 0
    assert hit.grace_ms > 60_000, "it may be served for all of its time"
    assert value.get(fails) == "old", "computing failed"
    untouched = bystander.seen()
    assert untouched is not None
    assert untouched.fresh_ms > 0
    assert bystander.get(fails) == "old"
    assert bystander.calls == []


def test_a_softly_invalidated_value_is_renewed_by_one(kit: RedisKit) -> None:
    value = stored(Value(kit))
    soften(kit, "t")

    def renewed() -> str:
        assert [value.get(fails) for _ in range(3)] == ["old"] * 3
        return "new"

    assert value.get(renewed) == "new"
    hit = value.hit(fails)
    assert hit.value == "new"
    assert hit.fresh_ms > 0
    assert value.calls == [1]


def test_a_value_softened_again_after_it_was_renewed_is_renewed_again(kit: RedisKit) -> None:
    value = stored(Value(kit))
    for what in ("one", "two", "three"):
        soften(kit, "t")
        assert value.get(partial(str, what)) == what
    assert value.get(fails) == "three"


def test_without_grace_a_softly_invalidated_value_is_a_miss(kit: RedisKit) -> None:
    value = stored(Value(kit, lifetime=NO_GRACE))
    soften(kit, "t")
    assert value.seen() is None
    assert value.get(new) == "new"
    assert value.get(fails) == "new"


def test_a_hard_invalidation_wins_whichever_came_first(kit: RedisKit) -> None:
    for hard_first in (True, False):
        value = stored(Value(kit))
        if hard_first:
            kit.cache.invalidate_tags("t")
        soften(kit, "t")
        if not hard_first:
            kit.cache.invalidate_tags("t")
        assert value.seen() is None


def test_of_two_tags_one_suffices(kit: RedisKit) -> None:
    value = stored(Value(kit, tags=("t", "u", "v")))
    soften(kit, "w", "u")
    hit = value.seen()
    assert hit is not None
    assert hit.fresh_ms <= 0
    kit.cache.invalidate_tags("v")
    assert value.seen() is None


def test_a_value_computed_before_a_soft_invalidation_is_stored_and_stale_at_once(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = Value(kit)

    def softened() -> str:
        soften(kit, "t")
        return "outdated"

    assert value.get(softened) == "outdated"
    assert redis_client.exists(value.place.value)
    hit = value.seen()
    assert hit is not None
    assert hit.fresh_ms <= 0
    assert value.get(new) == "new"
    assert value.get(fails) == "new"


def test_a_tag_added_while_computing_can_be_invalidated_softly(kit: RedisKit) -> None:
    value = Value(kit)
    value.get(lambda: "old", extra_tags=("late",))
    soften(kit, "late")
    hit = value.seen()
    assert hit is not None
    assert hit.fresh_ms <= 0


def test_it_costs_one_more_trip_once_and_only_for_values_older_than_it(
    warmed: RedisKit, make_kit: MakeKit, proxy: Proxy
) -> None:
    old = stored(Value(warmed, tags=("u",)))
    soften(warmed, "t")
    young = stored(Value(warmed, "young"))

    def trips(value: Value) -> int:
        with proxy.counting() as count:
            assert value.get(fails) == "old"
        return count.trips

    assert [trips(old), trips(old), trips(young)] == [2, 1, 1]
    soften(warmed, "x")
    assert [trips(old), trips(young), trips(young)] == [1, 2, 1]
    assert any(b"~t:u" in command for command in proxy.commands), "it is asked for along"
    stored(old)
    assert [trips(old), trips(old)] == [1, 1]
    proxy.reset()
    assert trips(old) == 1
    assert not any(b"~t:u" in command for command in proxy.commands), "and no longer than it has to"


def test_a_value_older_than_what_the_log_has_forgotten_is_a_miss(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_LOG_LIMIT=5, **PATIENT)
    value = stored(Value(kit))
    soften(kit, "t")
    assert value.seen() is not None
    soften(kit, *(f"noise:{n}" for n in range(6)))
    assert value.seen() is None
    young = stored(Value(kit, "young"))
    soften(kit, "t")
    stale = young.seen()
    assert stale is not None
    assert stale.fresh_ms <= 0
    for log in kit.cache.engine().shards.logs():
        assert redis_client.zcard(log) <= 4 + 5


def test_old_records_of_both_kinds_are_forgotten_alike(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_LOG_LIMIT=10, **PATIENT)
    for n in range(100):
        if n % 2:
            soften(kit, f"tag:{n}")
        else:
            kit.cache.invalidate_tags(f"tag:{n}")
    for log in kit.cache.engine().shards.logs():
        members = set(redis_client.zrange(log, 0, -1))
        assert {b"!n", b"!s", b"!f", b"!~"} <= members
        assert len(members) == 14
        assert b"~t:tag:99" in members
        assert b"t:tag:98" in members
        newest = redis_client.zscore(log, "!s")
        assert newest is not None
        assert redis_client.zscore(log, "!~") == -newest


@pytest.mark.parametrize("protocol", [2, 3])
def test_scores_are_read_in_both_protocols(
    protocol: int, make_kit: MakeKit, redis_url: str
) -> None:
    """RESP2 sends them as text."""
    kit = make_kit(redis_url, REDIS_OPTIONS={"protocol": protocol}, **PATIENT)
    kit.cache.invalidate_tags("t", "u")
    value = stored(Value(kit, tags=("t", "u")))
    fresh = value.seen()
    assert fresh is not None
    assert fresh.fresh_ms > 0
    soften(kit, "u")
    stale = value.seen()
    assert stale is not None
    assert stale.fresh_ms <= 0
    assert value.get(new) == value.get(fails) == "new"
    kit.cache.invalidate_tags("t")
    assert value.seen() is None
