"""Those who wait for a computation: for how long, and how little they ask the server meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis

from flask_redis_kit import RedisKit
from flask_redis_kit.cache import gathering
from flask_redis_kit.cache.bell import Bell
from flask_redis_kit.cache.gathering import Gathering, Gatherings
from flask_redis_kit.cache.reading import Look, asked_for
from tests.cache.conftest import MakeKit
from tests.cache.flying import PATIENT, Value, finish
from tests.harness.proxy import Proxy
from tests.waiting import wait_until

LOOK = Look(None, -2, (), asked_for(()))


def new() -> str:
    return "new"


def fails() -> str:
    raise LookupError


@pytest.fixture
def kit(make_kit: MakeKit, proxy: Proxy) -> RedisKit:
    """A kit that has time."""
    return make_kit(proxy.url, **PATIENT)


@contextmanager
def held(client: redis.Redis, value: Value) -> Iterator[None]:
    """Another process computes the value meanwhile."""
    client.set(value.place.lease, "of another process", px=600_000)
    yield
    client.delete(value.place.lease)


def waiting(value: Value, many: int) -> bool:
    gathering = value.engine.flights._gatherings._all.get(value.call.digest.text)
    return gathering is not None and len(gathering._waiters) == many


def polls(proxy: Proxy) -> int:
    return sum(command[0] == b"EXISTS" for command in proxy.commands)


def test_how_long_to_wait_is_said_for_each_call(kit: RedisKit, redis_client: redis.Redis) -> None:
    value = Value(kit)
    with held(redis_client, value):
        assert value.get(new, wait_seconds=0) == "new"
        assert value.get(new, wait_seconds=0.02) == "new"
    assert value.seen() is None, "who has not got the lease stores nothing"
    assert value.get(new, wait_seconds=0) == "new"
    assert value.seen() is not None


def test_of_many_waiting_threads_one_asks_the_server(
    make_kit: MakeKit, proxy: Proxy, redis_client: redis.Redis
) -> None:
    value = Value(make_kit(proxy.url, REDIS_MAX_CONNECTIONS=40, **PATIENT))
    with ThreadPoolExecutor(30) as pool, held(redis_client, value):
        waiters = [pool.submit(value.get, new) for _ in range(30)]
        wait_until(lambda: waiting(value, 30), what="all to wait")
        with proxy.counting() as count:
            wait_until(lambda: count.trips >= 5, what="some looks")
        assert count.connections == 0
        assert all(
            command[0] in (b"EXISTS", b"GET", b"PTTL", b"ZMSCORE") for command in count.commands
        )
        before = polls(proxy)
        redis_client.delete(value.place.lease)
        assert [each.result() for each in waiters] == ["new"] * 30
    assert len(value.calls) == 1
    assert polls(proxy) - before < 15, "what one has seen is for all"


def test_of_many_waiting_tasks_one_asks_the_server(
    make_kit: MakeKit, proxy: Proxy, redis_client: redis.Redis
) -> None:
    value = Value(make_kit(proxy.url, **PATIENT))

    async def compute() -> str:
        return "new"

    async def main() -> list[str]:
        tasks = [asyncio.create_task(value.get_async(compute)) for _ in range(30)]
        while not waiting(value, 30):
            await asyncio.sleep(0)
        before = polls(proxy)
        redis_client.delete(value.place.lease)
        results = await asyncio.gather(*tasks)
        assert polls(proxy) - before < 15
        return results

    with held(redis_client, value):
        assert asyncio.run(main()) == ["new"] * 30
    assert len(value.calls) == 1


def test_threads_and_tasks_wait_together(kit: RedisKit) -> None:
    value = Value(kit)
    computes, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        computes.set()
        may_end.wait(60)
        return "new"

    async def never() -> str:
        raise AssertionError

    async def main() -> list[str]:
        return list(await asyncio.gather(*(value.get_async(never) for _ in range(5))))

    with ThreadPoolExecutor(8) as pool:
        computing = pool.submit(value.get, slow)
        assert computes.wait(60)
        threads = [pool.submit(value.get, fails) for _ in range(5)]
        tasks = pool.submit(asyncio.run, main())
        wait_until(lambda: waiting(value, 10), what="all to wait")
        may_end.set()
        assert computing.result() == "new"
        assert [each.result() for each in threads] == tasks.result() == ["new"] * 5
    assert value.calls == [1]
    assert value.engine.flights._gatherings._all == {}


def test_a_cancelled_waiter_leaves_the_others_waiting(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = Value(kit)

    async def compute() -> str:
        return "new"

    async def main() -> str:
        first, second = (asyncio.create_task(value.get_async(compute)) for _ in range(2))
        while not waiting(value, 2):
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert waiting(value, 1)
        redis_client.delete(value.place.lease)
        return str(await second)

    with held(redis_client, value):
        assert asyncio.run(main()) == "new"


def test_who_waits_gets_what_is_valid_now_not_what_was_computed_before_an_invalidation(
    kit: RedisKit, make_kit: MakeKit, redis_url: str
) -> None:
    """The second caller comes after the invalidation: the running computation is not for him."""
    value = Value(kit)
    computes, may_end = threading.Event(), threading.Event()

    def outdated() -> str:
        computes.set()
        may_end.wait(60)
        return "outdated"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(value.get, outdated)
        assert computes.wait(60)
        Value(make_kit(redis_url, **PATIENT)).kit.cache.invalidate_tags("t")
        second = pool.submit(value.get, new)
        wait_until(lambda: waiting(value, 1), what="the second to wait")
        may_end.set()
        assert first.result() == "outdated"
        assert second.result() == "new"
    assert value.get(fails) == "new"


def test_a_look_is_only_for_those_who_had_joined_before_it_began() -> None:
    place = Gathering()
    early = place.join()
    began = time.monotonic()
    late = place.join()
    late.since = began + 1
    place.announce(began, LOOK)
    assert place.announced_to(early) is LOOK
    assert place.announced_to(late) is None


def test_another_leads_when_the_leader_leaves_or_falls_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Gathering()
    first, second = place.join(), place.join()
    assert place.leads(first)
    assert not place.leads(second)
    assert place.leads(first)
    bell = place.bell
    assert not place.leave(first)
    assert bell.rang, "the others are told"
    assert place.leads(second)
    third = place.join()
    assert not place.leads(third)
    monkeypatch.setattr(gathering, "SILENCE", -1)
    assert place.leads(third)
    assert not place.leave(second)
    assert place.leave(third)


def test_a_nudge_between_two_looks_is_not_lost() -> None:
    all_places = Gatherings()
    place, waiter = all_places.join("x")
    assert place.leads(waiter)
    all_places.nudge("x")
    assert waiter.bell.rang
    waiter.bell.wait(600)
    assert place.leads(waiter)
    renewed: Bell = waiter.bell
    assert not renewed.rang, "it waits for the next one"
    all_places.leave("x", place, waiter)
    all_places.nudge("x")
    assert not renewed.rang


def test_a_bell_wakes_threads_and_tasks_and_forgets_who_gave_up() -> None:
    async def main() -> None:
        bell = Bell()
        await bell.wait_async(0.001)
        assert not bell.rang
        waiters = [asyncio.create_task(bell.wait_async(600)) for _ in range(3)]
        await asyncio.sleep(0)
        with ThreadPoolExecutor(2) as pool:
            blocked = pool.submit(bell.wait, 600)
            pool.submit(bell.ring).result()
            blocked.result()
        await asyncio.gather(*waiters)
        await bell.wait_async(600)
        assert bell._tasks == []

    asyncio.run(main())


def test_a_bell_that_rings_after_its_waiters_loop_was_closed_harms_nothing() -> None:
    bell = Bell()
    loop = asyncio.new_event_loop()
    waiter = loop.create_task(bell.wait_async(600))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    bell.ring()
    assert not waiter.done()
    assert bell.rang


def test_who_finds_others_waiting_does_not_ask_for_the_lease(
    kit: RedisKit, proxy: Proxy, redis_client: redis.Redis
) -> None:
    value = Value(kit)
    with ThreadPoolExecutor(10) as pool, held(redis_client, value):
        first = pool.submit(value.get, new)
        wait_until(lambda: waiting(value, 1), what="the first to wait")
        with proxy.counting() as count:
            others = [pool.submit(value.get, new) for _ in range(9)]
            wait_until(lambda: waiting(value, 10), what="all to wait")
        assert all(command[0] != b"SET" for command in count.commands)
        assert value.get(new, wait_seconds=0) == "new", "who can't wait asks, and computes"
        redis_client.delete(value.place.lease)
        assert [each.result() for each in (first, *others)] == ["new"] * 10
    assert len(value.calls) == 2


def test_a_value_stored_between_the_look_and_the_lease_is_not_computed_again(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = Value(kit)
    flow = value._flow({})
    send = value.engine.context.send
    step = flow.send(send(next(flow)))  # it has seen that there is none, and wants the lease
    assert Value(kit).get(new) == "new"
    assert finish(flow, step, send).value == "new"
    assert value.calls == []
    assert not redis_client.exists(value.place.lease)


# refresh


def test_a_refresh_computes_a_fresh_value_anew(kit: RedisKit) -> None:
    value = Value(kit)
    assert value.get(lambda: "old") == "old"
    assert value.get(new, refresh=True) == "new"
    assert value.get(fails) == "new"


def test_a_refresh_that_fails_leaves_the_old_value(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = Value(kit)
    assert value.get(lambda: "old") == "old"
    with pytest.raises(LookupError):
        value.get(fails, refresh=True)
    assert value.get(fails) == "old"
    assert not redis_client.exists(value.place.lease)


def test_a_refresh_works_without_a_log_and_invalidations_reach_it(kit: RedisKit) -> None:
    value = Value(kit)
    kit.cache.clear()

    def invalidated() -> str:
        kit.cache.invalidate_tags("t")
        return "outdated"

    assert value.get(new, refresh=True) == "new"
    assert value.get(fails) == "new"
    assert value.get(invalidated, refresh=True) == "outdated"
    assert value.seen() is None


def test_a_refresh_does_not_wait_for_who_began_before_and_outlasts_him(kit: RedisKit) -> None:
    """What is being computed already may be older than what the refresh is to show."""
    value = Value(kit)

    def overtaken() -> str:
        assert value.get(new, refresh=True) == "new"
        return "old"

    assert value.get(overtaken) == "old"
    assert value.get(fails) == "new"
