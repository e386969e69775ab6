"""Limits over different identities where they lie in different slots: all or none, all the same.

On one server the flag of a Cluster is set by hand: what is sent and decided is the same. Run with
``--topology cluster`` it is one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.ratelimit import admission, scripts
from flask_redis_kit.ratelimit.identity import hashed
from flask_redis_kit.ratelimit.limits import Claim, Limit
from flask_redis_kit.ratelimit.scripts import Verdict
from tests.harness.proxy import Proxy
from tests.ratelimit.conftest import Limited

Claiming = Callable[..., Claim]


@pytest.fixture(autouse=True)
def _clustered(limited: Limited, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(limited.limiter.context.wire, "clustered", True)
    with limited.app.app_context():
        yield


@pytest.fixture
def claim(limited: Limited) -> Claiming:
    limiter = limited.limiter

    def make(who: str, units: int, **options: Any) -> Claim:
        return limiter.claim(Limit.checked(units, 60, **options), hashed(who, source="test"), "s")

    return make


def used(limited: Limited, claim: Claim) -> int:
    result = limited.limiter.peek([claim]).results[0]
    return claim.limit.limit - result.remaining


@pytest.mark.standalone(reason="it counts the trips to one server")
def test_an_admission_takes_two_trips_and_a_refusal_one_that_writes_nothing(
    limited: Limited, claim: Claiming, proxy: Proxy
) -> None:
    claims = [claim("a", 9), claim("b", 1), claim("c", 9), claim("d", 1)]
    with proxy.counting() as count:
        assert limited.limiter.acquire(claims).allowed
    assert count.trips == 2
    with proxy.counting() as count:
        decision = limited.limiter.acquire(claims)
    assert count.trips == 1
    assert len(decision.refused) == 2  # all that refuse are known, so the wait is right
    assert [used(limited, each) for each in claims] == [1] * 4


@pytest.mark.parametrize("algorithm", ["sliding-log", "auto"])
def test_what_was_counted_before_another_refused_is_handed_back_exactly(
    limited: Limited, claim: Claiming, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """Somebody takes the last unit between the look and the count."""
    limiter = limited.limiter
    claims = [claim(who, 300, algorithm=algorithm) for who in "ac"]
    last = claim("b", 1)
    looked: list[bool] = []
    look = scripts.peek

    def taken_after_the_look(group: Sequence[Claim]) -> Exchange[Verdict]:
        if group[0].key == last.key and not looked:
            looked.append(True)
            exchange = look(group)
            parse = exchange.parse

            def after(replies: list[Any]) -> Verdict:
                limiter.acquire([last])
                return parse(replies)

            exchange.parse = after
            return exchange
        return look(group)

    monkeypatch.setattr(admission, "peek", taken_after_the_look)
    decision = limiter.acquire([claims[0], last, claims[1]])
    assert not decision.allowed
    assert [result.limit for result in decision.refused] == [1]
    assert decision.held == []
    assert [used(limited, each) for each in (*claims, last)] == [0, 0, 1]


def test_what_could_be_counted_is_handed_back_if_another_limit_is_closed(
    limited: Limited, claim: Claiming, redis_client: redis.Redis
) -> None:
    fine, broken = claim("a", 5), claim("b", 5, on_error="closed")
    redis_client.set(broken.key, "no log", ex=60)
    decision = limited.limiter.acquire([fine, broken])
    assert (decision.allowed, decision.unavailable, decision.held) == (False, True, [])
    assert used(limited, fine) == 0
    redis_client.delete(broken.key)


def test_what_another_slot_refuses_is_not_counted_in_this_process_either(
    limited: Limited, claim: Claiming, redis_client: redis.Redis
) -> None:
    limiter = limited.limiter
    full, broken = claim("a", 1), claim("b", 2, on_error="local")
    limiter.acquire([full])
    redis_client.set(broken.key, "no log", ex=60)
    assert not limiter.acquire([full, broken]).allowed
    assert limiter.acquire([broken]).results[0].remaining == 1
    redis_client.delete(broken.key)


@pytest.mark.parametrize("on_error", ["open", "local"])
def test_what_could_be_looked_at_but_not_counted_is_told_as_such(
    limited: Limited,
    claim: Claiming,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    on_error: str,
) -> None:
    limiter = limited.limiter
    fine, broken = claim("a", 5), claim("b", 5, on_error=on_error)
    look = scripts.peek

    def broken_after_the_look(group: Sequence[Claim]) -> Exchange[Verdict]:
        exchange = look(group)
        parse = exchange.parse

        def after(replies: list[Any]) -> Verdict:
            redis_client.set(broken.key, "no log", ex=60)
            return parse(replies)

        exchange.parse = after
        return exchange

    monkeypatch.setattr(admission, "peek", broken_after_the_look)
    decision = limiter.acquire([fine, broken])
    assert decision.allowed
    assert decision.failure is not None
    result = decision.results[1]
    local = on_error == "local"
    assert (result.counted, result.local, result.remaining) == (local, local, 4 if local else 5)
    redis_client.delete(broken.key)


def test_under_a_race_nobody_is_admitted_wrongly_and_nothing_stays_counted(
    limited: Limited, claim: Claiming
) -> None:
    limiter = limited.limiter
    everybody = claim("everybody", 60)
    own = [claim(f"user{n}", 20) for n in range(8)]
    admitted = [0] * 8
    barrier = threading.Barrier(8)

    def ask(n: int) -> None:
        with limited.app.app_context():
            barrier.wait()
            for _ in range(25):
                admitted[n] += limiter.acquire([own[n], everybody]).allowed

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) <= 60
    assert max(admitted) <= 20
    # what two took at once and neither may keep is given back: no unit is lost
    assert used(limited, everybody) == sum(admitted)
    assert [used(limited, each) for each in own] == admitted


def test_a_refusal_in_several_slots_is_remembered_only_briefly(
    limited: Limited, claim: Claiming, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[float] = []
    add = limited.limiter.denials.add

    def noted(*arguments: Any, **options: Any) -> None:
        kept.append(arguments[2])
        add(*arguments, **options)

    monkeypatch.setattr(limited.limiter.denials, "add", noted)
    one = [claim("a", 1)]
    two = [claim("b", 1), claim("c", 1)]
    for claims in (one, two):
        for _ in range(2):
            limited.limiter.acquire(claims)
    assert kept == [5.0, 0.5]


def test_leases_in_several_slots_are_released_and_refunds_go_to_each(
    limited: Limited, claim: Claiming
) -> None:
    claims = [claim("a", 1, kind="concurrency"), claim("b", 1, kind="concurrency"), claim("c", 5)]
    limiter = limited.limiter
    decision = limiter.acquire(claims)
    assert not limiter.acquire(claims).allowed
    assert limiter.renew(decision)
    limiter.release(decision)
    limiter.refund(decision)
    assert [used(limited, each) for each in claims] == [0, 0, 0]
