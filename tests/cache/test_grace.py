"""Past its time but within grace: served at once, renewed by one caller, kept if that fails."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from flask_redis_kit import RedisKit
from flask_redis_kit.cache import signals
from flask_redis_kit.cache.ttl import Lifetime
from tests.cache.conftest import MakeKit
from tests.cache.flying import PATIENT, Value, finish
from tests.harness.proxy import Proxy
from tests.waiting import wait_until


def new() -> str:
    return "new"


def fails() -> str:
    raise LookupError


@pytest.fixture
def kit(make_kit: MakeKit, proxy: Proxy) -> RedisKit:
    """A kit that has time."""
    return make_kit(proxy.url, **PATIENT)


@pytest.fixture
def value(kit: RedisKit, redis_client: redis.Redis) -> Value:
    """A value that is stale: "old", with 50 s left of its grace period of 60 s."""
    value = Value(kit)
    value.get(lambda: "old")
    value.left(redis_client, 50_000)
    value.calls.clear()
    return value


def test_the_times_of_a_value(kit: RedisKit, redis_client: redis.Redis) -> None:
    value = Value(kit, lifetime=Lifetime(100_000, 300_000))
    value.get(new)
    assert 380_000 < redis_client.pttl(value.place.value) <= 400_000
    hit = value.hit(fails)
    assert 80_000 < hit.fresh_ms <= 100_000
    assert hit.grace_ms == 300_000
    assert 0 <= hit.age_ms < 20_000
    value.left(redis_client, 200_000)
    stale = value.seen()
    assert stale is not None
    assert -120_000 <= stale.fresh_ms < -99_000
    assert 180_000 < stale.grace_ms <= 200_000
    assert 200_000 <= stale.age_ms < 220_000


def test_a_stale_value_is_renewed_by_whoever_asks_first(value: Value) -> None:
    assert value.get(new) == "new"
    hit = value.hit(fails)
    assert hit.value == "new"
    assert hit.fresh_ms > 0
    assert value.calls == [1]


def test_others_get_the_old_value_at_once_while_one_renews_it(
    value: Value, make_kit: MakeKit, redis_url: str
) -> None:
    other = Value(make_kit(redis_url, **PATIENT))
    computes, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        computes.set()
        may_end.wait(60)
        return "new"

    with ThreadPoolExecutor(20) as pool:
        renewing = pool.submit(value.get, slow)
        assert computes.wait(60)
        here = list(pool.map(lambda _: value.get(fails), range(10)))
        there = list(pool.map(lambda _: other.get(fails), range(10)))
        may_end.set()
        assert renewing.result() == "new"
    assert here == there == ["old"] * 10
    assert value.calls == [1]
    assert other.calls == []
    assert value.get(fails) == other.get(fails) == "new"


def test_others_in_tasks_get_the_old_value_at_once(value: Value) -> None:
    async def main() -> list[str]:
        may_end = asyncio.Event()

        async def slow() -> str:
            await may_end.wait()
            return "new"

        tasks = [asyncio.create_task(value.get_async(slow)) for _ in range(10)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while sum(task.done() for task in tasks) < 9:
            await asyncio.sleep(0)
        may_end.set()
        return list(await asyncio.gather(*tasks))

    assert sorted(asyncio.run(main())) == ["new"] + ["old"] * 9
    assert value.calls == [1]


def test_a_stale_hit_costs_one_trip_where_the_renewal_is_known(
    value: Value, make_kit: MakeKit, proxy: Proxy
) -> None:
    other = Value(make_kit(proxy.url, **PATIENT))
    other.kit.cache.get("unrelated")  # connected

    def slow() -> str:
        for trips in (2, 1, 1):  # it asks for the lease once
            with proxy.counting() as count:
                assert other.get(fails) == "old"
            assert count.trips == trips
        with proxy.counting() as count:
            assert value.get(fails) == "old"
        assert count.trips == 1, "here it is known who has it"
        return "new"

    assert value.get(slow) == "new"


def test_a_lease_of_another_process_is_asked_for_again_soon(
    value: Value, redis_client: redis.Redis
) -> None:
    redis_client.set(value.place.lease, "of another process", px=100_000)
    assert value.get(fails) == "old"
    redis_client.delete(value.place.lease)
    wait_until(lambda: value.get(new) == "new", what="this process to ask for the lease")


def test_when_renewing_fails_the_old_value_is_served_and_nobody_tries_for_a_while(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    patient = {"REDIS_CACHE_RETRY_SECONDS": 200, "REDIS_CACHE_LEASE_SECONDS": 300, **PATIENT}
    value, other = (Value(make_kit(redis_url, **patient)) for _ in range(2))
    value.get(lambda: "old")
    value.left(redis_client, 50_000)
    value.calls.clear()
    assert value.get(fails) == "old"
    assert value.calls == [1]
    assert [value.get(fails) for _ in range(20)] == ["old"] * 20
    assert [other.get(fails) for _ in range(20)] == ["old"] * 20
    assert value.calls == [1]
    assert other.calls == []
    assert 150_000 < redis_client.pttl(value.place.lease) <= 200_000
    redis_client.pexpire(value.place.lease, 1)
    wait_until(lambda: other.get(new) == "new", what="the next try")
    assert value.get(fails) == "new"


def test_how_long_nobody_tries_is_a_setting(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    value = Value(make_kit(redis_url, REDIS_CACHE_RETRY_SECONDS=0, **PATIENT))
    value.get(lambda: "old")
    value.left(redis_client, 50_000)
    assert [value.get(fails) for _ in range(3)] == ["old"] * 3
    assert len(value.calls) == 4


def test_who_has_no_old_value_to_serve_lets_the_next_try_at_once(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    value = Value(kit)
    for _ in range(2):
        with pytest.raises(LookupError):
            value.get(fails)
        assert not redis_client.exists(value.place.lease)
    assert value.get(new) == "new"


def test_when_a_renewing_process_dies_another_renews_after_its_lease(
    value: Value, redis_client: redis.Redis
) -> None:
    redis_client.set(value.place.lease, "of a dead process", px=50)
    wait_until(lambda: value.get(new) == "new", what="the lease to end")
    assert len(value.calls) == 1


def test_past_its_grace_a_value_is_a_miss(value: Value, redis_client: redis.Redis) -> None:
    value.left(redis_client, 1)
    wait_until(lambda: value.seen() is None, what="its time to end")
    assert value.get(new) == "new"
    with pytest.raises(LookupError):
        Value(value.kit, "another").get(fails)


def test_an_invalidated_value_is_not_served_in_its_grace(value: Value) -> None:
    value.kit.cache.invalidate_tags("t")
    assert value.seen() is None
    with pytest.raises(LookupError):
        value.get(fails)


def test_a_value_invalidated_while_it_is_renewed_is_not_stored(value: Value) -> None:
    def invalidated() -> str:
        value.kit.cache.invalidate_tags("t")
        return "outdated"

    assert value.get(invalidated) == "outdated"
    assert value.seen() is None
    assert value.get(new) == "new"


def test_a_value_renewed_between_the_look_and_the_lease_is_not_computed_again(
    value: Value, redis_client: redis.Redis
) -> None:
    flow = value._flow({})
    send = value.engine.context.send
    step = flow.send(send(next(flow)))  # it has seen the old value, and wants the lease
    assert Value(value.kit).get(new) == "new"
    assert finish(flow, step, send).value == "new"
    assert not redis_client.exists(value.place.lease)


def test_a_value_invalidated_between_the_look_and_the_lease_is_computed(value: Value) -> None:
    flow = value._flow({})
    send = value.engine.context.send
    step = flow.send(send(next(flow)))
    value.kit.cache.invalidate_tags("t")
    step = flow.send(send(step))
    assert step.__class__.__name__ == "Compute"
    flow.close()


def test_a_server_that_goes_away_before_the_lease_costs_nothing(value: Value, proxy: Proxy) -> None:
    flow = value._flow({})
    send = value.engine.context.send
    step = flow.send(send(next(flow)))
    proxy.refuse()
    proxy.cut()
    with pytest.raises(redis.ConnectionError) as error:
        send(step)
    with pytest.raises(StopIteration) as stop:
        flow.throw(error.value)
    assert stop.value.value.value == "old"


def test_the_outcomes_are_counted(value: Value) -> None:
    told: list[tuple[str, str]] = []
    app = value.kit.state().app

    def listener(name: str) -> object:
        def listen(_: object, subject: str, reason: str = "", **_more: object) -> None:
            told.append((f"{name} {reason}".strip(), subject))

        return listen

    names = ("hit", "miss", "stale", "renewal", "stored", "refused")
    listeners = [listener(name) for name in names]
    for name, each in zip(names, listeners, strict=True):
        getattr(signals, name).connect(each, app)

    def invalidated() -> str:
        value.kit.cache.invalidate_tags("t")
        return "x"

    value.get(fails)
    value.get(fails)
    value.kit.cache.invalidate_tags("t")
    with pytest.raises(LookupError):
        value.get(fails)
    value.get(invalidated)
    value.get(new)
    value.get(new)
    assert {subject for _, subject in told} == {"test"}
    assert [name for name, _ in told] == [
        *("renewal", "stale", "stale"),
        *("miss", "miss", "refused invalidated", "miss", "stored", "hit"),
    ]
