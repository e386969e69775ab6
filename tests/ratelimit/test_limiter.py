"""The engine: decisions over several limits, what is handed back, shadows, leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from flask_redis_kit.ratelimit import RateLimiter
from flask_redis_kit.ratelimit.denials import Denials
from flask_redis_kit.ratelimit.identity import hashed
from flask_redis_kit.ratelimit.limits import Claim, Limit
from tests.harness.proxy import Proxy
from tests.ratelimit.conftest import Limited, MakeApp
from tests.ratelimit.oracle import read_log
from tests.waiting import wait_until

Claiming = Callable[..., Claim]


def tag(identity: str) -> str:
    return hashed(identity, source="test")


@pytest.fixture
def claim(limited: Limited) -> Claiming:
    """``claim("ann", 5, 60, cost=1, scope="s", shadow=True)``."""
    limiter = limited.limiter

    def make(
        who: str,
        units: int,
        window: float = 60,
        *,
        cost: int = 1,
        scope: str = "s",
        **options: Any,
    ) -> Claim:
        limit = Limit.checked(units, window, **options)
        return limiter.claim(limit, tag(who), scope, cost)

    return make


@pytest.fixture(autouse=True)
def _in_the_application(limited: Limited) -> Any:
    with limited.app.app_context():
        yield


def used(limited: Limited, claim: Claim) -> int:
    """Units in use, as a look tells."""
    result = limited.limiter.peek([claim]).results[0]
    return claim.limit.limit - result.remaining


def test_a_refusal_names_all_limits_that_refused_and_the_longest_wait(
    limited: Limited, claim: Claiming
) -> None:
    claims = [claim("a", 1, 60), claim("a", 1, 100), claim("a", 9, 1000)]
    assert limited.limiter.acquire(claims).allowed
    decision = limited.limiter.acquire(claims)
    assert not decision.allowed
    assert [result.window for result in decision.refused] == [60, 100]
    assert 60 < decision.retry_after <= 100
    assert decision.tightest.window == 100
    assert [result.remaining for result in decision.results] == [0, 0, 8]
    assert not decision.held


def test_a_shadow_limit_tells_what_it_would_have_refused_and_refuses_nobody(
    limited: Limited, claim: Claiming
) -> None:
    claims = [claim("a", 2, 60, shadow=True, name="new"), claim("a", 9, 90)]
    decisions = [limited.limiter.acquire(claims) for _ in range(4)]
    assert [decision.allowed for decision in decisions] == [True] * 4
    told = [[result.policy for result in decision.shadow_exceeded] for decision in decisions]
    assert told == [[], [], ["new"], ["new"]]
    # it counts like a limit that does refuse: no more than fits
    assert used(limited, claims[0]) == 2
    assert used(limited, claims[1]) == 4
    assert decisions[-1].tightest.window == 90


def test_what_an_enforced_limit_refuses_a_shadow_does_not_count(
    limited: Limited, claim: Claiming
) -> None:
    claims = [claim("a", 9, 90, shadow=True), claim("a", 1)]
    assert [limited.limiter.acquire(claims).allowed for _ in range(3)] == [True, False, False]
    assert used(limited, claims[0]) == 1


def test_limits_alone_in_shadow_are_the_tightest_there_is(
    limited: Limited, claim: Claiming
) -> None:
    claims = [claim("a", 1, shadow=True)]
    limited.limiter.acquire(claims)
    decision = limited.limiter.acquire(claims)
    assert decision.allowed
    assert decision.tightest.shadow


def test_claims_on_the_same_log_count_once_by_the_smallest_limit(
    limited: Limited, claim: Claiming
) -> None:
    wide, narrow = claim("a", 9, cost=2), claim("a", 3)
    decision = limited.limiter.acquire([wide, narrow])
    assert [result.limit for result in decision.results] == [3]
    assert used(limited, narrow) == 2
    assert not limited.limiter.acquire([narrow, wide]).allowed
    with pytest.raises(ValueError, match="cost=4 is more than the limit"):
        limited.limiter.acquire([narrow, claim("a", 9, cost=4)])


def test_a_cost_counts_as_many_units_and_none_counts_nothing(
    limited: Limited, claim: Claiming
) -> None:
    limiter = limited.limiter
    assert limiter.acquire([claim("a", 5, cost=3)]).allowed
    assert limiter.acquire([claim("a", 5, cost=0)]).results[0].remaining == 2
    refused = limiter.acquire([claim("a", 5, cost=3)])
    assert not refused.allowed
    assert limiter.acquire([claim("a", 5, cost=2)]).allowed
    assert limiter.acquire([claim("a", 5, cost=0)]).allowed  # it asks for nothing


@pytest.mark.parametrize("cost", [6, -1, True, 1.5, "1", None])
def test_a_cost_that_could_never_be_admitted_is_an_error(claim: Claiming, cost: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="cost="):
        claim("a", 5, cost=cost)


@pytest.mark.parametrize("algorithm", ["sliding-log", "auto"])
@pytest.mark.parametrize("units", [3, 300])
def test_a_refund_hands_back_exactly_what_was_counted_and_only_once(
    limited: Limited, claim: Claiming, algorithm: str, units: int
) -> None:
    limiter = limited.limiter
    asked = claim("a", units, cost=2, algorithm=algorithm)
    first, second = limiter.acquire([asked]), None
    if units > 4:
        second = limiter.acquire([asked])
    before = used(limited, asked)
    for _ in range(3):
        limiter.refund(first)
    assert used(limited, asked) == before - 2
    if second is not None:
        limiter.refund(second)
        assert used(limited, asked) == 0


def test_a_refund_of_some_limits_leaves_the_others(limited: Limited, claim: Claiming) -> None:
    claims = [claim("a", 5), claim("a", 5, 90), claim("b", 5)]
    decision = limited.limiter.acquire(claims)
    limited.limiter.refund(decision, claims[1:])
    assert [used(limited, each) for each in claims] == [1, 0, 0]
    limited.limiter.refund(decision)
    assert [used(limited, each) for each in claims] == [0, 0, 0]


def test_a_refund_after_a_reset_takes_nothing_of_others(limited: Limited, claim: Claiming) -> None:
    limiter = limited.limiter
    for algorithm in ("sliding-log", "auto"):
        asked = claim("a", 300, algorithm=algorithm)
        decision = limiter.acquire([asked])
        assert limiter.reset([asked])
        limiter.acquire([asked])
        limiter.refund(decision)
        assert used(limited, asked) == 1


def test_a_raised_limit_keeps_the_usage_whatever_it_is_kept_in(
    limited: Limited, claim: Claiming, redis_client: redis.Redis
) -> None:
    limiter = limited.limiter
    for _ in range(100):
        limiter.acquire([claim("a", 100, algorithm="auto")])
    assert not limiter.acquire([claim("a", 100, algorithm="auto")]).allowed
    raised = claim("a", 200, algorithm="auto")
    assert redis_client.type(raised.key) == b"zset"
    assert limiter.acquire([raised]).results[0].remaining == 99
    assert redis_client.type(raised.key) == b"hash"
    assert 30_000 < redis_client.pttl(raised.key) <= 60_938  # a 64th longer than the window
    assert not limiter.acquire([claim("a", 100, algorithm="auto")]).allowed
    assert limiter.acquire([claim("a", 102, algorithm="auto")]).results[0].remaining == 0


def test_a_refused_limit_that_hands_units_back_is_asked_about_each_time(
    limited: Limited, claim: Claiming, proxy: Proxy
) -> None:
    limiter = limited.limiter
    for options in ({"refundable": True}, {"kind": "concurrency"}):
        asked = claim("a", 1, **options)
        decision = limiter.acquire([asked])
        assert not limiter.acquire([asked]).allowed
        with proxy.counting() as count:
            assert not limiter.acquire([asked]).allowed
        assert count.trips == 1
        limiter.refund(decision)
        limiter.release(decision)
        assert limiter.acquire([asked]).allowed


def test_another_limit_that_stays_full_is_remembered_beside_it(
    limited: Limited, claim: Claiming, proxy: Proxy
) -> None:
    claims = [claim("a", 1, refundable=True), claim("a", 1, 90)]
    limited.limiter.acquire(claims)
    assert not limited.limiter.acquire(claims).allowed
    with proxy.counting() as count:
        assert not limited.limiter.acquire(claims).allowed
    assert count.trips == 0


def test_a_refund_forgets_what_its_log_refused_elsewhere(limited: Limited, claim: Claiming) -> None:
    """A log that two routes share, one of which counts by its answers."""
    limiter = limited.limiter
    conditional, plain = claim("a", 1, refundable=True), claim("a", 1)
    decision = limiter.acquire([conditional])
    assert not limiter.acquire([plain]).allowed
    limiter.refund(decision)
    assert limiter.acquire([plain]).allowed


def test_a_reset_is_seen_at_once_in_this_process(limited: Limited, claim: Claiming) -> None:
    limiter, asked = limited.limiter, claim("a", 1)
    assert [limiter.acquire([asked]).allowed for _ in range(3)] == [True, False, False]
    assert limiter.reset([asked])
    assert limiter.acquire([asked]).allowed
    assert not limiter.reset([claim("b", 1)])


def test_forty_at_once_of_which_three_fit(limited: Limited, claim: Claiming) -> None:
    asked = claim("a", 3, refundable=True)
    limiter = limited.limiter
    barrier = threading.Barrier(40)
    decisions = []

    def ask() -> None:
        barrier.wait()
        with limited.app.app_context():
            decisions.append(limiter.acquire([asked]))

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    admitted = [decision for decision in decisions if decision.allowed]
    assert len(admitted) == 3
    for decision in admitted:
        limiter.refund(decision)
    assert used(limited, asked) == 0


# concurrency


def test_never_more_inside_than_there_are_places_and_all_places_used(
    limited: Limited, claim: Claiming
) -> None:
    asked = claim("a", 3, 30, kind="concurrency")
    limiter = limited.limiter
    lock = threading.Lock()
    seen: list[int] = []
    served = inside = refused = 0
    all_taken = threading.Event()
    """The three places, and many others have asked for a fourth."""

    def work() -> None:
        nonlocal inside, served, refused
        mine = 0
        with limited.app.app_context():
            while mine < 5:
                decision = limiter.acquire([asked])
                if not decision.allowed:
                    with lock:
                        refused += inside == 3
                    if refused >= 100:
                        all_taken.set()
                    continue
                with lock:
                    inside += 1
                    seen.append(inside)
                # who is first waits for the others, which may be slow to come
                if inside > 3 or not all_taken.wait(10):
                    all_taken.set()
                with lock:
                    inside -= 1
                limiter.release(decision)
                mine += 1
                served += 1

    threads = [threading.Thread(target=work) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seen) == 3
    assert used(limited, asked) == 0


def test_a_place_whose_holder_was_killed_is_free_when_its_lease_ends(
    limited: Limited, claim: Claiming, redis_client: redis.Redis
) -> None:
    asked = claim("a", 1, 300, kind="concurrency")
    limiter = limited.limiter
    first = limiter.acquire([asked])
    refused = limiter.acquire([asked])
    assert 0 < refused.retry_after <= 300
    [holder] = read_log(redis_client, asked.key)
    redis_client.zincrby(asked.key, -299_800_000, holder)  # it is over in a moment
    limiter.denials = Denials()
    wait_until(lambda: limiter.acquire([asked]).allowed)
    limiter.release(first)  # it lives after all: nothing of the other's is taken
    assert used(limited, asked) == 1


def test_a_renewed_lease_lasts_and_one_that_ended_is_told(
    limited: Limited, claim: Claiming, redis_client: redis.Redis
) -> None:
    asked = claim("a", 1, 30, kind="concurrency")
    limiter = limited.limiter
    decision = limiter.acquire([asked])
    [before] = read_log(redis_client, asked.key).values()
    assert 10_000 < redis_client.pttl(asked.key) <= 30_000
    assert limiter.renew(decision)
    [after] = read_log(redis_client, asked.key).values()
    assert after > before
    assert 0 < redis_client.pttl(asked.key) <= 30_000
    limiter.reset([asked])
    assert not limiter.renew(decision)
    assert not redis_client.exists(asked.key)


def test_places_and_rates_are_one_script_call_and_all_or_none(
    limited: Limited, claim: Claiming, proxy: Proxy
) -> None:
    place, rate = claim("a", 1, 30, kind="concurrency"), claim("a", 5)
    limiter = limited.limiter
    with proxy.counting() as count:
        decision = limiter.acquire([place, rate])
    assert (count.trips, len(count.commands)) == (1, 1)
    assert not limiter.acquire([place, rate]).allowed
    assert used(limited, rate) == 1
    limiter.release(decision)
    assert used(limited, rate) == 1
    assert limiter.acquire([place, rate]).allowed


# settings


def test_switched_off_it_asks_nothing(make_app: MakeApp, proxy: Proxy) -> None:
    limited = make_app(REDIS_RATELIMIT_ENABLED=False)
    limiter = limited.limiter
    asked = limiter.claim(Limit.checked(1, 60), tag("a"), "s")
    with proxy.counting() as count, limited.app.app_context():
        decisions = [limiter.acquire([asked]), limiter.acquire([asked]), limiter.peek([asked])]
    assert count.trips == 0
    assert [d.allowed for d in decisions] == [True] * 3
    assert not any(d.counted for d in decisions)


def test_strict_atomicity_puts_all_identities_into_one_slot(
    make_app: MakeApp, redis_client: redis.Redis, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = make_app(REDIS_RATELIMIT_ATOMICITY="strict")
    limiter = limited.limiter
    monkeypatch.setattr(limiter.context.wire, "clustered", True)
    limit = Limit.checked(2, 60)
    claims = [limiter.claim(limit, tag(who), "s") for who in ("a", "b")]
    assert {claim.key.partition("}")[0] for claim in claims} == {"frk:{shop:limits"}
    assert len({claim.key for claim in claims}) == 2
    with limited.app.app_context(), proxy.counting() as count:
        assert limiter.acquire(claims).allowed
    assert len(count.commands) == 1
    assert redis_client.exists(claims[0].key) == 1


def test_the_guide_s_limiter(limited: Limited, proxy: Proxy) -> None:
    limiter = RateLimiter(limited.kit.client)
    now = time.time()
    with proxy.counting() as count:
        allowed, remaining, reset = limiter.is_allowed("ratelimit:ann", 2, 60)
    assert (allowed, remaining, count.trips) == (True, 1, 1)
    assert now + 55 < reset <= now + 120
    assert isinstance(reset, int)
    assert limiter.is_allowed("ratelimit:ann", 2, 60)[:2] == (True, 0)
    limited.limiter.denials = Denials()
    assert limiter.is_allowed("ratelimit:ann", 2, 60)[:2] == (False, 0)
    assert limiter.is_allowed("ratelimit:bob", 2, 60)[:2] == (True, 1)
    with pytest.raises(ValueError, match="limit="):
        limiter.is_allowed("ratelimit:ann", 0, 60)
