"""Rate limits through failovers of a Sentinel group: what was counted is still counted."""

from __future__ import annotations

import threading

from flask_redis_kit.core.errors import ServerError
from flask_redis_kit.ratelimit.scripts import acquire, new_token, peek
from tests.core.connecting import wire_to
from tests.harness.sentinels import SentinelGroup
from tests.ratelimit.asking import claim
from tests.topologies.rivals import undisputed
from tests.waiting import wait_until

EXACT = claim("{limit}:exact", 300, 600_000_000)
RACED = claim("{limit}:raced", 5000, 600_000_000)
BUCKETS = claim("{limit}:buckets", 300, 600_000_000, algorithm="auto")


def test_what_the_replica_knows_is_counted_and_freed_by_the_same_times(
    sentinels: SentinelGroup,
) -> None:
    with wire_to(sentinels.url) as wire:
        for _ in range(40):
            assert wire.send(acquire([EXACT, BUCKETS], new_token())).admitted
        before = wire.send(peek([EXACT, BUCKETS]))
        with sentinels.master().client() as master:
            assert master.wait(2, 30_000) == 2
        old = sentinels.failover()
        sentinels.wait_until_switched(old)
        wait_until(lambda: wire.send_many([peek([EXACT])])[0].error is None)
        after = wire.send(peek([EXACT, BUCKETS]))
        for first, later in zip(before.standings, after.standings, strict=True):
            assert later.remaining == first.remaining == 260
            # units free at the same moment: the server's time stands in the log
            assert before.clock_us + first.reset_us == after.clock_us + later.reset_us
        admitted = sum(
            wire.send(acquire([EXACT, BUCKETS], new_token())).admitted for _ in range(300)
        )
        assert admitted == 260
    sentinels.wait_until_stable()


def test_a_master_that_dies_in_the_middle_of_a_race_costs_no_more_than_the_lag(
    sentinels: SentinelGroup,
) -> None:
    admitted, unknown, before, held = undisputed(sentinels, lambda: race_through_a_death(sentinels))
    assert held == 5000
    # nothing is asked twice: a reply that was lost is a unit that nobody got; and the replica has
    # lost what had not been replicated, at most all that was before
    assert 5000 - unknown <= admitted <= 5000 + before


def race_through_a_death(sentinels: SentinelGroup) -> tuple[int, int, int, int]:
    """Four threads ask until they are refused. How many units were admitted, how many requests got
    no answer, how many units were admitted before the death, and how many the server holds.
    """
    admitted, unknown = [0] * 4, [0] * 4
    over = threading.Event()
    with wire_to(sentinels.url) as wire:

        def ask(n: int) -> None:
            while not over.is_set():
                try:
                    verdict = wire.send(acquire([RACED], new_token()))
                except ServerError as error:
                    unknown[n] += getattr(error, "maybe_sent", False)
                else:
                    admitted[n] += verdict.admitted
                    if not verdict.admitted:
                        return

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: sum(admitted) >= 50)
            old = sentinels.kill_master()
            before = sum(admitted) + len(threads)
            sentinels.wait_until_switched(old)
            wait_until(lambda: not any(thread.is_alive() for thread in threads), timeout=180)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        old.revive()
        sentinels.wait_until_stable()
        with sentinels.master().client() as master:
            return sum(admitted), sum(unknown), before, master.zcard(RACED.key)
