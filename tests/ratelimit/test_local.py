"""Counting in this process, while the server is away."""

from __future__ import annotations

import itertools
import threading
from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit.ratelimit.limits import Claim
from flask_redis_kit.ratelimit.local import EXACT, PARTS, LocalLimits
from tests.harness.children import exit_code, fork
from tests.ratelimit.asking import claim

SECOND = 1_000_000


def admit(limits: LocalLimits, asked: Claim, now: float, name: str = "t") -> bool:
    return limits.acquire([asked], name, now)[0]


def copied(limits: LocalLimits) -> LocalLimits:
    """The same logs, to look into the future with."""
    copy = LocalLimits(1)
    copy._logs = deepcopy(limits._logs)
    return copy


events = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from([1, 1, 2, 3]), st.sampled_from([3, 4, 150, 400])),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(events=events, burst=st.sampled_from([0, 130, 200]))
def test_no_interval_of_the_window_ever_holds_more_than_the_limit(
    events: list[tuple[float, int, int]], burst: int
) -> None:
    limits, window = LocalLimits(1), 10.0
    admitted: list[tuple[float, int]] = []
    now = 0.0
    for passed, cost, limit in [*events[:5], *[(0.001, 1, 400)] * burst, *events[5:]]:
        now += passed
        asked = claim("k", limit, 10 * SECOND, cost)
        counted = sum(units for at, units in admitted if at > now - window)
        at_most = sum(units for at, units in admitted if at > now - window - window / PARTS)
        ok, [standing] = limits.acquire([asked], "t", now)
        if ok:
            assert counted + cost <= limit
            admitted.append((now, cost))
        else:
            assert at_most + cost > limit
            later = now + standing.retry_us / 1e6
            assert not admit(copied(limits), asked, later - 1e-4)
            assert admit(copied(limits), asked, later + 1e-6)


def test_many_that_share_an_entry_free_together_with_its_last_and_soon() -> None:
    limits, asked = LocalLimits(1), claim("k", 1000, 10 * SECOND)
    for n in range(EXACT):
        admit(limits, asked, 0, str(n))

    def used(now: float) -> int:
        return 1000 - limits.acquire([asked], "", now)[1][0].remaining

    for now in (0, 0.1, 5):  # two join the last one, the third is too late for it
        admit(limits, asked, now)
    assert [used(now) for now in (9.9, 10.05, 10.11, 14.9, 15)] == [131, 4, 1, 1, 0]


def test_a_log_keeps_at_most_a_few_hundred_entries() -> None:
    limits, asked = LocalLimits(1), claim("k", 100_000, 60 * SECOND)
    for n in range(20_000):
        assert admit(limits, asked, n / 1000)
    assert len(limits._logs["k"].entries) <= EXACT + PARTS + 1


def test_the_limit_is_divided_by_the_processes_and_never_less_than_one_request() -> None:
    shared = LocalLimits(4)
    assert [admit(shared, claim("k", 10, SECOND), 0) for _ in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    many = LocalLimits(100)
    assert [admit(many, claim("k", 10, SECOND), 0) for _ in range(2)] == [True, False]
    dear = LocalLimits(4)
    assert [admit(dear, claim("k", 10, SECOND, 5), 0) for _ in range(2)] == [True, False]


def test_all_or_none() -> None:
    limits = LocalLimits(1)
    wide, narrow = claim("wide", 9, 60 * SECOND), claim("narrow", 1, SECOND)
    for now, admitted in ((0.0, True), (0.5, False), (0.9, False), (1.0, True)):
        assert limits.acquire([wide, narrow], "t", now)[0] is admitted
    _, [standing] = limits.acquire([wide], "", 1.0)
    assert standing.remaining == 7


def test_what_is_handed_back_is_free_and_another_s_is_not_touched() -> None:
    limits, asked = LocalLimits(1), claim("k", 2, 60 * SECOND)
    admit(limits, asked, 0, "one")
    admit(limits, asked, 0, "two")
    for _ in range(2):
        limits.hand_back([asked], "one")
    assert admit(limits, asked, 0, "three")
    assert not admit(limits, asked, 0, "four")


def test_a_lease_ends_by_itself_by_release_or_lasts_by_renewal() -> None:
    limits, asked = LocalLimits(1), claim("k", 1, 10 * SECOND, kind="concurrency")
    assert admit(limits, asked, 0, "one")
    assert not admit(limits, asked, 9, "two")
    assert limits.renew(asked, "one", 9)
    assert not admit(limits, asked, 18, "two")
    assert admit(limits, asked, 19, "two")
    assert not limits.renew(asked, "one", 19)
    limits.hand_back([asked], "two")
    assert admit(limits, asked, 19, "three")


def test_places_are_kept_apart_however_many_there_are() -> None:
    limits, asked = LocalLimits(1), claim("k", 300, 10 * SECOND, kind="concurrency")
    tokens = [str(n) for n in range(300)]
    assert all(admit(limits, asked, 0, token) for token in tokens)
    assert not admit(limits, asked, 0, "more")
    for token in tokens:
        limits.hand_back([asked], token)
    assert limits.acquire([asked], "", 0)[1][0].remaining == 300


def test_only_the_latest_used_keys_are_kept_and_empty_ones_not_at_all() -> None:
    limits = LocalLimits(1, max_keys=3)
    for key in "abcd":
        admit(limits, claim(key, 1, SECOND), 0)
    assert len(limits) == 3
    assert admit(limits, claim("a", 1, SECOND), 0)  # dropped: it counts anew
    limits.acquire([claim("d", 1, SECOND)], "", 5)
    assert len(limits) == 2


def test_threads_admit_exactly_the_limit() -> None:
    limits, asked = LocalLimits(1), claim("k", 500, 600 * SECOND)
    barrier = threading.Barrier(8)
    admitted = itertools.count()
    granted: list[int] = []

    def ask() -> None:
        barrier.wait()
        for n in range(200):
            if admit(limits, asked, n / 1000, f"t{n}"):
                granted.append(next(admitted))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 500


def test_a_forked_child_can_count_while_the_parent_holds_the_lock() -> None:
    limits, asked = LocalLimits(1), claim("k", 1, SECOND)
    with limits._lock:
        assert exit_code(fork(lambda: admit(limits, asked, 0))) == 0
