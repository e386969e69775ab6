"""``tx.cache``: what ``kit.cache`` invalidates and stores, all together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from flask_redis_kit import RedisKit, TransactionMisused
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy

pytestmark = pytest.mark.standalone("a Cluster has the logs of the cache in several slots")

Step = Callable[[Any], Any]
INVALIDATIONS: dict[str, Step] = {
    "a tag": lambda cache: cache.invalidate_tags("t"),
    "a prefix": lambda cache: cache.invalidate_prefix("numbers"),
    "a key": lambda cache: cache.delete("k"),
    "everything": lambda cache: cache.clear(),
}
SEEN = {"a tag": "k n", "a prefix": "n", "a key": "k", "everything": "k n"}


@pytest.fixture
def number(kit: RedisKit) -> Callable[[], int]:
    calls: list[int] = []

    @kit.cache.cache_result("numbers", tags=["t"], grace=100)
    def number() -> int:
        calls.append(1)
        return len(calls)

    return number


@pytest.mark.parametrize("name", INVALIDATIONS)
def test_an_invalidation_holds_from_the_end_of_the_block(
    name: str, kit: RedisKit, number: Callable[[], int], proxy: Proxy
) -> None:
    kit.cache.set("k", 1, tags=["t"])
    number()
    with proxy.counting() as count, kit.transaction() as tx:
        INVALIDATIONS[name](tx.cache)
        assert count.trips == 0
    assert count.trips == 1
    assert (kit.cache.get("k") is None) == ("k" in SEEN[name])
    assert (number() == 2) == ("n" in SEEN[name])


@pytest.mark.parametrize("name", INVALIDATIONS)
def test_a_block_that_raises_invalidates_nothing(
    name: str, kit: RedisKit, number: Callable[[], int]
) -> None:
    kit.cache.set("k", 1, tags=["t"])
    number()

    def block() -> None:
        with kit.transaction() as tx:
            INVALIDATIONS[name](tx.cache)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert kit.cache.get("k") == 1
    assert number() == 1


def test_soft_invalidations(kit: RedisKit) -> None:
    kit.cache.set("k", 1, tags=["t"], grace=100)
    with kit.transaction() as tx:
        result = tx.cache.invalidate_tags("t", "u", soft=True)
        tx.cache.invalidate_prefix("numbers", soft=True)
    assert result.value == 2
    assert kit.cache.get("k") is None
    assert kit.cache.get("k", stale=True) == 1


def test_set_takes_what_kit_cache_set_takes(kit: RedisKit, redis_client: redis.Redis) -> None:
    with kit.transaction() as tx:
        stored = tx.cache.set("k", 1, ttl=100, tags=["t"], grace=50)
    assert stored.value is True
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    assert 130_000 < redis_client.pttl(key) <= 150_000
    kit.cache.invalidate_tags("t")
    assert kit.cache.get("k") is None


def test_set_is_refused_if_it_was_invalidated_since_the_miss_or_the_call(
    kit: RedisKit, make_kit: MakeKit, proxy: Proxy, app: Flask
) -> None:
    other = make_kit(proxy.url)
    with app.test_request_context():
        kit.cache.get("missed")
        with kit.transaction() as tx:
            missed = tx.cache.set("missed", 1, tags=["t"])
            called = tx.cache.set("called", 1, tags=["t"])
            other.cache.invalidate_tags("t")
        assert (missed.value, called.value) == (False, False)
        with kit.transaction() as tx:
            again = tx.cache.set("called", 1, tags=["t"])
        assert again.value is True


@pytest.mark.parametrize("name", ["a tag", "a key", "everything"])
def test_what_the_block_has_invalidated_cannot_be_set_in_it(name: str, kit: RedisKit) -> None:
    def block() -> None:
        with kit.transaction() as tx:
            INVALIDATIONS[name](tx.cache)
            tx.cache.set("k", 1, tags=["t"])

    with pytest.raises(TransactionMisused, match="Set it after the block"):
        block()


def test_bad_input_is_told_at_the_call(kit: RedisKit) -> None:
    with kit.transaction() as tx:
        for call, error in (
            (lambda: tx.cache.invalidate_prefix(""), "can't be empty"),
            (lambda: tx.cache.invalidate_prefix(7), "must be a string"),  # type: ignore[arg-type]
            (lambda: tx.cache.invalidate_tags(7), "must be a string"),  # type: ignore[arg-type]
            (lambda: tx.cache.set("k", 1, ttl=0), "ttl=0"),
        ):
            with pytest.raises((TypeError, ValueError), match=error):
                call()


def test_switched_off_nothing_is_sent(make_kit: MakeKit, proxy: Proxy) -> None:
    kit = make_kit(proxy.url, REDIS_CACHE_ENABLED=False)
    with proxy.counting() as count, kit.transaction() as tx:
        for step in INVALIDATIONS.values():
            step(tx.cache)
        stored = tx.cache.set("k", 1)
    assert stored.value is False
    assert count.trips == 0
