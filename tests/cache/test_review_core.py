"""Defects that a review of the cache has found: each of these has failed once."""

from __future__ import annotations

import asyncio
import copy
import functools
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from flask import session

from flask_redis_kit import ConfigError, RedisKit
from flask_redis_kit.cache.finding import raw_call
from flask_redis_kit.cache.identity import encode
from flask_redis_kit.cache.reading import Readings
from tests.cache.conftest import MakeKit
from tests.cache.flying import PATIENT
from tests.waiting import wait_until

LEASE = 0.02


@pytest.mark.parametrize("method", ["get_many", "delete_many"])
def test_one_key_where_several_are_meant_is_refused(kit: RedisKit, method: str) -> None:
    with pytest.raises(TypeError, match=r"must be several.*\['report'\]"):
        getattr(kit.cache, method)("report")


def test_a_set_wins_over_a_computation_that_has_outlived_its_lease(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_LEASE_SECONDS=LEASE)

    def compute() -> str:
        outlive_the_lease(redis_client)
        kit.cache.set("k", "new")
        return "old"

    kit.cache.get_or_set("k", compute)
    assert kit.cache.get("k") == "new"


def test_a_refresh_wins_over_a_computation_that_has_outlived_its_lease(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    brief, long = make_kit(redis_url, REDIS_CACHE_LEASE_SECONDS=LEASE), make_kit(redis_url)
    database = ["old"]

    def compute() -> str:
        value = database[0]
        if value == "old":
            database[0] = "new"
            outlive_the_lease(redis_client)
            renewing.refresh()
        return value

    slow, renewing = (kit.cache.cache_result("slow")(compute) for kit in (brief, long))
    assert slow() == "old"
    assert slow() == "new"


def test_a_refresh_is_stored_though_it_takes_longer_than_its_lease(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_LEASE_SECONDS=LEASE)
    database = ["old"]

    @kit.cache.cache_result("slow")
    def slow() -> str:
        if database[0] == "new":
            outlive_the_lease(redis_client)
        return database[0]

    slow()
    database[0] = "new"
    slow.refresh()
    assert slow() == "new"


def outlive_the_lease(client: redis.Redis) -> None:
    """Until it has expired by the server's clock and by ours, which was started later."""
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > LEASE, what="the end of the lease here")
    wait_until(lambda: not list(client.scan_iter(match="*:cache:l:*")), what="its end there")


def test_those_who_wait_for_what_is_not_stored_compute_together(
    make_kit: MakeKit, redis_url: str
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_WAIT_SECONDS=60, **PATIENT)
    app, count = kit.state().app, 6
    first, others = threading.Event(), threading.Barrier(count)

    @kit.cache.cache_result(when=lambda _: False)
    def never_stored() -> str:
        if not first.is_set():
            first.set()
            wait_for_waiters(kit, count)
        else:
            others.wait(60)  # all of them at once, or nobody gets through
        return "x"

    def call(_: object) -> str:
        with app.app_context():
            return never_stored()

    with ThreadPoolExecutor(count + 1) as pool:
        leader = pool.submit(call, 0)
        assert first.wait(60)
        assert list(pool.map(call, range(count))) == ["x"] * count
        assert leader.result() == "x"


def test_those_who_wait_for_a_page_that_is_not_stored_are_served_together(
    make_kit: MakeKit, redis_url: str
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_WAIT_SECONDS=60, **PATIENT)
    app, count = kit.state().app, 4
    first, others = threading.Event(), threading.Barrier(count)

    @app.get("/")
    @kit.cache.cache_result()
    def personal() -> str:
        session.get("name")
        if not first.is_set():
            first.set()
            wait_for_waiters(kit, count)
        else:
            others.wait(60)
        return "x"

    def call(_: object) -> str:
        return app.test_client().get("/").text

    with ThreadPoolExecutor(count + 1) as pool:
        leader = pool.submit(call, 0)
        assert first.wait(60)
        assert list(pool.map(call, range(count))) == ["x"] * count
        assert leader.result() == "x"


def wait_for_waiters(kit: RedisKit, count: int) -> None:
    with kit.state().app.app_context():
        gatherings = kit.cache.engine().flights._gatherings._all

    def waiting() -> bool:
        return sum(len(each._waiters) for each in list(gatherings.values())) == count

    wait_until(waiting, 30, "the others")


def test_what_is_stored_later_is_waited_for_again(make_kit: MakeKit, redis_url: str) -> None:
    kit = make_kit(redis_url)
    results: list[int | None] = [None, 1]
    call = kit.cache.cache_result("k", when=lambda result: result is not None)(
        lambda: results.pop(0)
    )
    assert call() is None
    assert call() == 1
    assert call() == 1  # stored, by who has computed although the last one wasn't


def test_a_zone_of_fixed_offset_is_not_the_region_of_its_name() -> None:
    region = datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    fixed = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "Europe/Berlin"))
    assert encode(region) != encode(fixed)
    assert encode(fixed.replace(tzinfo=timezone(timedelta(0), "\udcff")))


def test_stop_iteration_passes_through(kit: RedisKit) -> None:
    nothing = kit.cache.cache_result("nothing")(lambda: next(iter(())))
    with pytest.raises(StopIteration):
        nothing()
    with pytest.raises(ConfigError, match="can't be kept"):
        kit.cache.cache_result(exceptions=StopIteration)


class Shop:
    """With a cached method, where pickle finds it."""

    kit: RedisKit

    def __cache_key__(self) -> int:
        return 1

    def price(self, product: int) -> int:
        return product


def test_a_bound_method_can_be_copied_and_pickled(
    kit: RedisKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shop, "price", kit.cache.cache_result()(Shop.price))
    assert copy.copy(Shop().price)(7) == 7
    assert pickle.loads(pickle.dumps(Shop().price))(7) == 7  # noqa: S301  # our own


def test_a_partial_of_a_coroutine_function_is_cached(kit: RedisKit) -> None:
    calls: list[int] = []

    async def add(one: int, other: int) -> int:
        calls.append(other)
        return one + other

    three = kit.cache.cache_result("add")(functools.partial(add, 1))

    async def main() -> list[Any]:
        return [await three(2), await three(2)]

    assert asyncio.run(main()) == [3, 3]
    assert calls == [2]


def test_what_is_remembered_of_tags_is_bounded_and_safe_for_threads(
    kit: RedisKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_redis_kit.cache.reading._MOST_TAGS", 20)
    engine: Any = kit.cache.engine()
    readings = Readings(engine.shards)

    def learn(start: int) -> None:
        for n in range(start, start + 3000):
            readings.learn(raw_call(str(n)), (b"t:more",))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(learn, range(0, 12_000, 3000)))
    assert len(readings._known) <= 20 + 4


def test_what_is_made_of_a_softly_invalidated_value_is_old_as_well(kit: RedisKit) -> None:
    app = kit.state().app
    database, began, go_on = ["old"], threading.Event(), threading.Event()

    @kit.cache.cache_result("inner", tags=["t"], grace=100)
    def inner() -> str:
        value = database[0]
        if value == "new":
            began.set()
            assert go_on.wait(60)
        return value

    outers = [
        kit.cache.cache_result(f"outer{grace}", grace=grace)(lambda: inner()) for grace in (0, 100)
    ]

    def renew() -> str:
        with app.app_context():
            return inner()

    inner()
    database[0] = "new"
    kit.cache.invalidate_tags("t", soft=True)
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(renew)
        assert began.wait(60)
        found = [outer() for outer in outers]
        by_hand = kit.cache.get_or_set("outer", inner)
        go_on.set()
        assert renewing.result() == "new"
    assert [*found, by_hand] == ["old"] * 3
    for outer in outers:
        assert outer() == "new"
    assert kit.cache.get_or_set("outer", inner) == "new"


def test_a_function_that_calls_itself_does_not_wait_for_itself(kit: RedisKit) -> None:
    depths: list[int] = []

    @kit.cache.cache_result("deep", wait=30)
    def deep() -> int:
        depths.append(1)
        return 5 if len(depths) == 3 else deep()

    began = time.monotonic()
    assert deep() == 5
    assert kit.cache.get_or_set("k", lambda: kit.cache.get_or_set("k", lambda: 7)) == 7
    assert time.monotonic() - began < 5  # of 60
    assert deep() == 5  # stored, by the outermost
    assert len(depths) == 3


def test_a_task_that_outlives_the_computation_it_was_started_in_waits_and_stores(
    kit: RedisKit,
) -> None:
    calls: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        over = asyncio.Event()

        async def later() -> None:
            await over.wait()
            kit.cache.invalidate_tags("t")
            await value()
            await value()

        @kit.cache.cache_result("value", tags=["t"])
        async def value() -> int:
            calls.append(1)
            if len(calls) == 1:
                tasks.append(asyncio.create_task(later()))
            return 1

        await value()
        over.set()
        await tasks[0]

    asyncio.run(main())
    assert len(calls) == 2


def test_commands_show_what_would_command_the_terminal_as_text(kit: RedisKit) -> None:
    kit.cache.set("k", "\x1b[2Jvalue \udcff\n\tö", tags=["search:\x1b[2J\nx"])
    runner = kit.state().app.test_cli_runner()
    shown = runner.invoke(args=["redis", "cache", "get", "k"], color=True)
    assert shown.output == "\\x1b[2Jvalue \\udcff\n\tö\n"
    inspected = runner.invoke(args=["redis", "cache", "inspect", "k"], color=True)
    assert r"search:\x1b[2J\nx" in inspected.output


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda cache: cache.get("k", codec=5), r"codec must be an object with encode"),
        (lambda cache: cache.get_many(["k"], codec=5), r"codec must be an object with encode"),
        (lambda cache: cache.set("k", 1, codec=dict), r"codec must be an object with encode"),
        (lambda cache: cache.set_many([("k", 1)]), r"values must be a dict"),
        (lambda cache: cache.get_or_set("k", 5), r"compute must be a function.*lambda: 5"),
        (lambda cache: cache.cache_result(vary=["a b"]), r"'a b' is no name of a header"),
        (lambda cache: cache.cache_result()(max), r"no signature.*wrap it in a function"),
    ],
)
def test_bad_input_is_named_with_its_cure(kit: RedisKit, call: Any, message: str) -> None:
    kit.cache.set("k", 1)
    with pytest.raises((TypeError, ConfigError), match=message):
        call(kit.cache)
