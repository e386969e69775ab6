"""``kit.cache.get/set/delete``: get, compute, set by hand without a race."""

from __future__ import annotations

import threading
from contextvars import copy_context

import pytest
import redis
from flask import Flask, copy_current_request_context

from flask_redis_kit import CodecError, RedisKit
from flask_redis_kit.cache.envelope import Epoch
from flask_redis_kit.cache.misses import MissMemory


def test_what_is_set_is_there(kit: RedisKit, redis_client: redis.Redis) -> None:
    assert kit.cache.get("k") is None
    assert kit.cache.get("k", 5) == 5
    assert kit.cache.set("k", {"a": (1,)}, ttl=100) is True
    assert kit.cache.get("k") == {"a": (1,)}
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    assert 80_000 < redis_client.pttl(key) <= 100_000
    assert kit.cache.delete("k") is True
    assert kit.cache.delete("k") is False
    assert kit.cache.get("k") is None


def test_none_can_be_set(kit: RedisKit) -> None:
    kit.cache.set("k", None)
    assert kit.cache.get("k", "default") is None


def test_keys_never_reach_the_server_as_they_are(kit: RedisKit, redis_client: redis.Redis) -> None:
    for key in ("a}b{c", "x" * 100_000, "", "\r\n", "ü\ud800"):
        kit.cache.set(key, key[:1])
        assert kit.cache.get(key) == key[:1]
    assert all(len(key) < 80 for key in redis_client.scan_iter("*"))


def test_a_value_that_cannot_be_stored_is_an_error(kit: RedisKit) -> None:
    with pytest.raises(CodecError):
        kit.cache.set("k", object())
    with pytest.raises(CodecError, match="REDIS_CACHE_MAX_BYTES is 5000000"):
        kit.cache.set("k", b"x" * 6_000_000)


@pytest.mark.parametrize("inside", [True, False], ids=["in a request", "outside"])
def test_what_was_invalidated_since_the_miss_is_not_stored(
    kit: RedisKit, app: Flask, inside: bool
) -> None:
    def program() -> None:
        assert kit.cache.get("k") is None
        kit.cache.invalidate_tags("t")  # somebody else changes what was just read
        assert kit.cache.set("k", "stale", tags=["t"]) is False
        assert kit.cache.get("k") is None
        assert kit.cache.set("other", "fresh", tags=["t"]) is True

    if inside:
        with app.test_request_context():
            program()
    else:
        copy_context().run(program)


def test_outside_a_request_an_old_miss_spoils_at_most_one_set(kit: RedisKit) -> None:
    kit.cache.get("k")
    kit.cache.invalidate_tags("t")
    assert kit.cache.set("k", 1, tags=["t"]) is False
    assert kit.cache.set("k", 1, tags=["t"]) is True


def test_a_request_does_not_remember_the_misses_of_another(kit: RedisKit, app: Flask) -> None:
    with app.test_request_context():
        kit.cache.get("k")
    kit.cache.invalidate_tags("t")
    with app.test_request_context():
        assert kit.cache.set("k", 1, tags=["t"]) is True


def test_the_first_miss_counts_when_there_is_no_log_yet(kit: RedisKit) -> None:
    kit.cache.get("k")
    kit.cache.invalidate_tags("t")
    assert kit.cache.set("k", "stale", tags=["t"]) is False


def test_threads_of_one_request_do_not_take_each_others_misses(kit: RedisKit, app: Flask) -> None:
    results: dict[str, bool] = {}
    with app.test_request_context():
        kit.cache.get("k")
        kit.cache.invalidate_tags("t")

        @copy_current_request_context
        def newer() -> None:
            kit.cache.get("k")
            results["newer"] = kit.cache.set("k", "newer", tags=["t"])

        thread = threading.Thread(target=newer)
        thread.start()
        thread.join()
        results["older"] = kit.cache.set("k", "older", tags=["t"])
    assert results["older"] is False
    assert kit.cache.get("k") != "older"


def test_misses_remembered_outside_are_bounded() -> None:
    def program() -> None:
        memory, digests = MissMemory(), [f"{n:x}"[::-1] + "-" for n in range(20_000)]
        for n, digest in enumerate(digests):
            memory.remember(None, digest, Epoch(1, n, 0))
        assert memory.take(None, digests[-1]) == Epoch(1, 19_999, 0)
        assert memory.take(None, digests[-1]) is None
        assert sum(memory.take(None, digest) is not None for digest in digests) < 10_240

    copy_context().run(program)


def test_a_copied_context_changes_nothing_in_the_other_one() -> None:
    def program() -> None:
        memory = MissMemory()
        memory.remember(None, "k", Epoch(1, 5, 0))

        def other() -> None:
            memory.remember(None, "k", Epoch(1, 9, 0))
            assert memory.take(None, "k") == Epoch(1, 5, 0)
            memory.refused(None, "k")

        copy_context().run(other)
        assert memory.take(None, "k") == Epoch(1, 5, 0)

    copy_context().run(program)


def test_tags_may_change_from_one_set_to_the_next(kit: RedisKit) -> None:
    kit.cache.set("k", 1, tags=["a"])
    kit.cache.set("k", 2, tags=["b"])
    kit.cache.invalidate_tags("a")
    assert kit.cache.get("k") == 2
    kit.cache.invalidate_tags("b")
    assert kit.cache.get("k") is None


@pytest.mark.parametrize("many", [False, True])
def test_a_get_that_failed_lets_no_older_value_be_set(
    kit: RedisKit, redis_client: redis.Redis, many: bool
) -> None:
    """Nobody knows as of when a value is that was computed after a look that failed."""
    redis_client.config_set("maxmemory", 1)  # a log can't be made
    try:
        assert (kit.cache.get_many(["k"]) if many else kit.cache.get("k")) in ({}, None)
    finally:
        redis_client.config_set("maxmemory", 0)
    kit.cache.invalidate_tags("t")  # after it was computed
    assert kit.cache.set("k", "older", tags=["t"]) is False
    assert kit.cache.set("k", "newer", tags=["t"]) is True
