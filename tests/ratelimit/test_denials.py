"""Remembered refusals: bounded, true as long as they are kept, gone after a reset."""

from __future__ import annotations

import itertools
import threading

import pytest
import redis

from flask_redis_kit import RateLimitExceeded, rate_limit
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.denials import (
    MAX_SECONDS,
    Denials,
    hold_seconds,
)
from flask_redis_kit.ratelimit.limits import RateLimitResult
from flask_redis_kit.ratelimit.petition import Question, question
from tests.harness.children import exit_code, fork
from tests.ratelimit.asking import claim
from tests.ratelimit.conftest import Limited
from tests.ratelimit.oracle import server_now


def refusal(retry_after: float = 4.0) -> Decision:
    result = RateLimitResult("n", 1, 60.0, 0, retry_after, retry_after, False)
    return Decision(False, (claim("n", 1, 60_000_000),), (result,))


def asked(name: str) -> Question:
    return question([claim(name, 1, 60_000_000)])


def test_a_refusal_holds_until_its_retry_time_and_counts_down() -> None:
    denials = Denials()
    denials.add(asked("a"), refusal(2.0), 2.0, since=100.0, heard=100.0, resets=0)
    known = denials.get(asked("a"), 101.5)
    assert known is not None
    assert (known.retry_after, known.results[0].reset_after) == (0.5, 0.5)
    assert denials.get(asked("a"), 102.0) is None
    assert len(denials) == 0


def test_a_long_refusal_is_asked_about_again_after_the_cap() -> None:
    denials = Denials()
    refused = refusal(3600.0)
    seconds = hold_seconds(refused, spread=False)
    denials.add(asked("a"), refused, seconds, since=100.0, heard=100.0, resets=0)
    assert denials.get(asked("a"), 100.0 + MAX_SECONDS - 0.001) is not None
    assert denials.get(asked("a"), 100.0 + MAX_SECONDS) is None


def test_a_slow_reply_does_not_shorten_the_wait_that_is_told() -> None:
    denials = Denials()
    denials.add(asked("a"), refusal(2.0), 2.0, since=100.0, heard=101.0, resets=0)
    known = denials.get(asked("a"), 101.5)
    assert known is not None
    assert known.retry_after == 1.5  # the server may have answered just before 101
    assert denials.get(asked("a"), 102.0) is None  # or just after 100


def test_only_the_latest_used_ones_are_kept() -> None:
    denials = Denials(max_entries=3)
    for name in "abc":
        denials.add(asked(name), refusal(), 4.0, since=0, heard=0, resets=0)
    denials.get(asked("a"), 0)
    denials.add(asked("d"), refusal(), 4.0, since=0, heard=0, resets=0)
    assert [name for name in "abcd" if denials.get(asked(name), 0)] == ["a", "c", "d"]


def test_another_limit_is_another_question() -> None:
    denials = Denials()
    denials.add(asked("a"), refusal(), 4.0, since=0, heard=0, resets=0)
    for other in (
        [claim("a", 2, 60_000_000)],
        [claim("a", 1, 60_000_000, cost=0)],
        [claim("a", 1, 60_000_000, shadow=True)],
        [claim("a", 1, 60_000_000), claim("b", 1, 60_000_000)],
    ):
        assert denials.get(question(other), 0) is None


def test_a_refusal_from_before_a_reset_is_not_kept_after_it() -> None:
    denials = Denials()
    resets = denials.resets  # the server is asked, and refuses …
    denials.forget("a")  # … while somebody resets the log
    denials.add(asked("a"), refusal(), 4.0, since=0, heard=0, resets=resets)
    assert denials.get(asked("a"), 0) is None


def test_a_reset_forgets_what_that_log_refused_and_nothing_else() -> None:
    denials = Denials()
    both = question([claim("a", 1, 60_000_000), claim("b", 1, 60_000_000)])
    for each in (both, asked("b")):
        denials.add(each, refusal(), 4.0, since=0, heard=0, resets=0)
    denials.forget("a")
    assert denials.get(both, 0) is None
    assert denials.get(asked("b"), 0) is not None
    denials.forget("b")
    assert (len(denials), denials._by_key) == (0, {})


def test_a_forked_child_can_refuse_while_the_parent_holds_the_lock() -> None:
    denials = Denials()

    def refuse() -> object:
        denials.add(asked("a"), refusal(), 4.0, since=0, heard=0, resets=0)
        return denials.get(asked("a"), 0)

    with denials._lock:
        assert exit_code(fork(refuse)) == 0


def test_threads_agree() -> None:
    denials = Denials(max_entries=8)
    errors: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for turn in range(2000):
                name = str((turn * 7 + n) % 20)
                denials.add(asked(name), refusal(), 4.0, since=0, heard=0, resets=denials.resets)
                denials.get(asked(name), turn % 6)
                if turn % 50 == 0:
                    denials.forget(name)
        except BaseException as error:  # noqa: BLE001  # shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(denials) <= 8
    assert set(denials._by_key) == {asked[0] for asked in denials._known}


def test_a_refused_client_is_admitted_when_its_unit_is_free_and_not_before(
    limited: Limited, redis_client: redis.Redis
) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=0.3)
    def home() -> str:
        return "ok"

    admitted: list[tuple[int, int]] = []
    while len(admitted) < 4:
        early = server_now(redis_client)
        if limited.client.get("/").status_code == 200:
            admitted.append((early, server_now(redis_client)))
    for (early, _), (_, late) in itertools.pairwise(admitted):
        assert late - early >= 300_000


def test_refusals_of_one_client_do_not_touch_another(limited: Limited) -> None:
    with limited.app.app_context():
        check = limited.kit.ratelimit.check
        check(limit=1, window=60, key="a")
        for _ in range(3):
            with pytest.raises(RateLimitExceeded):
                check(limit=1, window=60, key="a")
        assert check(limit=1, window=60, key="b").allowed
        assert check(limit=2, window=60, key="a").allowed  # a raised limit is asked about
