"""``cached_many``: many calls of one function, looked up in one trip; and ``refresh``."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from flask_redis_kit import RedisKit
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy
from tests.waiting import wait_until


def test_all_are_looked_up_in_one_trip(warmed: RedisKit, proxy: Proxy) -> None:
    calls: list[int] = []

    @warmed.cache.cache_result(tags=["n:{n}"])
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    assert double.cached_many(range(5)) == [0, 2, 4, 6, 8]
    with proxy.counting() as count:
        assert double.cached_many([4, 2, 0, 2]) == [8, 4, 0, 4]
    assert count.trips == 1
    with proxy.counting() as count:
        assert double.cached_many([4, 5, 3]) == [8, 10, 6]
    assert count.trips == 3, "one for all, and two for the one that was missing"
    assert calls == [0, 1, 2, 3, 4, 5]
    warmed.cache.invalidate_tags("n:2")
    assert double.cached_many([1, 2]) == [2, 4]
    assert calls[6:] == [2]
    with proxy.counting() as count:
        assert double.cached_many([]) == []
    assert count.trips == 0


def test_an_item_is_the_arguments_of_a_call(kit: RedisKit) -> None:
    @kit.cache.cache_result()
    def add(a: Any, b: int = 10, *, c: int = 0) -> tuple[Any, int, int]:
        return (a, b, c)

    items: list[object] = [1, (1, 2), {"a": 1, "b": 2, "c": 3}, ((1, 2),), (), None]
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        add.cached_many(items)
    items.remove(())
    expected = [(1, 10, 0), (1, 2, 0), (1, 2, 3), ((1, 2), 10, 0), (None, 10, 0)]
    assert add.cached_many(iter(items)) == add.cached_many(items) == expected
    assert add(1, 2) == (1, 2, 0)


def test_equal_items_are_computed_once_and_share_no_object(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def rows(n: int) -> list[int]:
        calls.append(n)
        return [n]

    results = rows.cached_many([1, 1, 1])
    assert results == [[1], [1], [1]]
    assert calls == [1]
    assert len({id(each) for each in results}) == 3


def test_what_is_missing_is_computed_by_one_of_all_callers(kit: RedisKit) -> None:
    calls: list[int] = []
    together = threading.Barrier(4)

    @kit.cache.cache_result()
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    def ask(_: int) -> list[int]:
        together.wait(60)
        return double.cached_many(range(5))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [[0, 2, 4, 6, 8]] * 4
    assert sorted(calls) == [0, 1, 2, 3, 4]


def test_an_error_of_one_is_raised_and_those_before_are_stored(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def inverse(n: int) -> float:
        calls.append(n)
        return 1 / n

    with pytest.raises(ZeroDivisionError):
        inverse.cached_many([1, 0, 2])
    assert inverse.cached_many([1, 2]) == [1, 0.5]
    assert calls == [1, 0, 2]


def test_when_the_server_is_away_all_are_computed(make_kit: MakeKit) -> None:
    kit = make_kit("redis://127.0.0.1:1/0")

    @kit.cache.cache_result()
    def double(n: int) -> int:
        return 2 * n

    assert double.cached_many(range(3)) == [0, 2, 4]
    assert double.refresh(2) == 4


def test_while_the_cache_is_off_all_are_computed(make_kit: MakeKit, redis_url: str) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_ENABLED=False)

    @kit.cache.cache_result()
    def double(n: int) -> int:
        return 2 * n

    @kit.cache.cache_result()
    async def triple(n: int) -> int:
        return 3 * n

    assert double.cached_many([1, (2,)]) == [2, 4]
    assert double.refresh(2) == 4
    assert asyncio.run(triple.cached_many([1, {"n": 2}])) == [3, 6]
    assert asyncio.run(triple.refresh(2)) == 6


def test_coroutine_functions_are_awaited(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    async def double(n: int) -> int:
        calls.append(n)
        await asyncio.sleep(0)
        return 2 * n

    async def both() -> list[list[int]]:
        return [await double.cached_many([1, 2]), await double.cached_many([2, 3])]

    assert asyncio.run(both()) == [[2, 4], [4, 6]]
    assert calls == [1, 2, 3]


def test_refresh_computes_and_stores(kit: RedisKit, proxy: Proxy) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def value(n: int) -> int:
        calls.append(n)
        return len(calls)

    assert [value(1), value.refresh(1), value(1), value.refresh(n=2), value(2)] == [1, 2, 2, 3, 3]
    assert calls == [1, 1, 2]
    with proxy.counting() as count:
        value.refresh(1)
    assert count.trips <= 3


def test_others_get_the_old_value_until_it_is_refreshed(kit: RedisKit) -> None:
    seen: list[int] = []
    calls: list[int] = []

    @kit.cache.cache_result()
    def value() -> int:
        calls.append(1)
        if len(calls) == 2:
            seen.append(value())
        return len(calls)

    value()
    assert value.refresh() == 2
    assert seen == [1]
    assert value() == 2


def test_what_is_invalidated_during_a_refresh_is_not_stored(kit: RedisKit) -> None:
    truth = ["old"]

    @kit.cache.cache_result(tags=["truth"])
    def value() -> str:
        seen = truth[0]
        if seen == "newer":
            truth[0] = "newest"
            kit.cache.invalidate_tags("truth")
        return seen

    assert value() == "old"
    truth[0] = "newer"
    assert value.refresh() == "newer"
    assert value() == value() == "newest"


def test_an_older_computation_does_not_overwrite_a_refresh(kit: RedisKit) -> None:
    began, go_on = threading.Event(), threading.Event()
    results = iter(["slow", "refreshed", "third"])

    @kit.cache.cache_result()
    def value() -> str:
        result = next(results)
        if result == "slow":
            began.set()
            assert go_on.wait(60)
        return result

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(value)
        assert began.wait(60)
        assert value.refresh() == "refreshed"
        go_on.set()
        assert slow.result(60) == "slow"
    assert value() == "refreshed"


def test_a_refresh_that_raises_leaves_the_value(kit: RedisKit, redis_client: redis.Redis) -> None:
    fails = [False]

    @kit.cache.cache_result()
    def value() -> int:
        if fails[0]:
            raise LookupError
        return 1

    value()
    fails[0] = True
    with pytest.raises(LookupError):
        value.refresh()
    assert value() == 1
    wait_until(lambda: not list(redis_client.scan_iter("frk:*:cache:l:*")), what="the lease's end")


def test_a_coroutine_function_is_refreshed(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    async def value() -> int:
        calls.append(1)
        return len(calls)

    async def all_of_it() -> list[int]:
        return [await value(), await value.refresh(), await value()]

    assert asyncio.run(all_of_it()) == [1, 2, 2]
