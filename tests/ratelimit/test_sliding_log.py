"""The script: exact against an oracle, all limits or none, and a refusal leaves no trace."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.core.script import ScriptCall
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.ratelimit import scripts
from flask_redis_kit.ratelimit.layout import limit_key
from flask_redis_kit.ratelimit.limits import Limit
from flask_redis_kit.ratelimit.scripts import Verdict
from tests.harness.servers import Server
from tests.ratelimit import asking
from tests.ratelimit.asking import acquire, peek
from tests.ratelimit.oracle import Expected, read_log, server_now

SECOND = 1_000_000
KEY = "{log}:0"  # none of the kit's keys: the tests seed it without an expiry
MINUTE = 60 * SECOND


class Ask(NamedTuple):
    """One limit and the log it meets; ``ages`` are seconds before now, negative in the future."""

    ages: tuple[float, ...]
    limit: int
    window: int
    cost: int


# Ages lie half a step away from every window's edge: however slow the test runs, the time that
# passes in it changes no decision.
STEP = 60.0
ages = st.integers(-7, 14).map(lambda n: (n + 0.5) * STEP)
asks = st.builds(
    Ask,
    ages=st.lists(ages, max_size=8).map(tuple),
    limit=st.integers(1, 7),
    window=st.integers(1, 6).map(lambda n: int(n * STEP) * SECOND),
    cost=st.integers(0, 4),
)


@settings(max_examples=300)
@given(rounds=st.lists(st.lists(asks, min_size=1, max_size=4), min_size=1, max_size=3))
def test_every_answer_and_every_write_is_the_oracle_s(
    wire: Wire, redis_client: redis.Redis, rounds: list[list[Ask]]
) -> None:
    redis_client.flushall()
    for round_ in rounds:  # later rounds meet the logs that the earlier ones left
        keys = [f"{{log}}:{n}" for n in range(len(round_))]
        start = server_now(redis_client)
        for n, (key, ask) in enumerate(zip(keys, round_, strict=True)):
            for m, age in enumerate(ask.ages):
                member = f"seed{n}.{m}" if m % 2 else str(start - int(age * SECOND) + m)
                redis_client.zadd(key, {member: start - int(age * SECOND)})
        _check_round(wire, redis_client, keys, round_)


def _check_round(wire: Wire, client: redis.Redis, keys: list[str], round_: list[Ask]) -> None:
    before = [read_log(client, key) for key in keys]
    dumps = [client.dump(key) for key in keys]
    early = server_now(client)
    verdict = wire.send(
        acquire([(k, a.limit, a.window, a.cost) for k, a in zip(keys, round_, strict=True)])
    )
    late = server_now(client)

    def expected(clock: int) -> list[Expected]:
        return [
            Expected(list(log.values()), ask.limit, ask.window, ask.cost, clock)
            for log, ask in zip(before, round_, strict=True)
        ]

    first, last = expected(early), expected(late)
    assert verdict.admitted == all(e.fits or e.cost == 0 for e in first)
    for n, (low, high) in enumerate(zip(first, last, strict=True)):
        standing = verdict.standings[n]
        assert len(low.counted) == len(high.counted)
        assert _between(standing.retry_us, low.retry, high.retry)
        left, right = low.after(verdict.admitted), high.after(verdict.admitted)
        assert standing.remaining == max(0, low.limit - len(left))
        edges = [(min(x) + low.window, max(x) + low.window) if x else None for x in (left, right)]
        for edge, value in enumerate((standing.reset_us, standing.full_us)):
            if edges[0] is None or edges[1] is None:
                assert value == 0
            else:
                assert edges[0][edge] - late <= value <= edges[1][edge] - early
        after = read_log(client, keys[n])
        if not verdict.admitted or low.cost == 0:
            assert client.dump(keys[n]) == dumps[n]
            continue
        new = {m: s for m, s in after.items() if before[n].get(m) != s}
        assert len(new) == low.cost
        assert all(_between(score, high.now, low.now) for score in new.values())
        assert len(set(new.values())) == 1
        assert sorted(s for m, s in after.items() if m not in new) == low.counted
        assert 0 < client.pttl(keys[n]) <= math.ceil(low.window / 1000)


def _between(value: int, low: int, high: int) -> bool:
    """Within the two, whichever is the greater; what doesn't move with the clock is equal."""
    return min(low, high) <= value <= max(low, high)


def test_equal_timestamps_count_apart(wire: Wire, redis_client: redis.Redis) -> None:
    # the newest unit lies in the future, so every call gets its time
    future = server_now(redis_client) + 30 * SECOND
    redis_client.zadd(KEY, {str(future): future})
    verdicts = [wire.send(acquire([(KEY, 5, MINUTE, 1)])) for _ in range(10)]
    assert [v.admitted for v in verdicts] == [True] * 4 + [False] * 6
    log = read_log(redis_client, KEY)
    assert len(log) == 5
    assert set(log.values()) == {future}


def test_a_large_cost_is_counted_unit_by_unit(wire: Wire, redis_client: redis.Redis) -> None:
    verdict = wire.send(acquire([(KEY, 20_000, MINUTE, 12_345)]))
    assert verdict.admitted
    assert verdict.standings[0].remaining == 20_000 - 12_345
    assert redis_client.zcard(KEY) == 12_345
    assert wire.send(acquire([(KEY, 20_000, MINUTE, 7_655)])).admitted
    assert not wire.send(acquire([(KEY, 20_000, MINUTE, 1)])).admitted


def test_members_of_others_stop_no_admission(wire: Wire, redis_client: redis.Redis) -> None:
    now = server_now(redis_client)
    for member in ("nan", "inf", "-inf", "1e300", "text", ""):
        redis_client.delete(KEY)
        redis_client.zadd(KEY, {member: now})
        assert wire.send(acquire([(KEY, 2, MINUTE, 1)])).admitted
        assert not wire.send(acquire([(KEY, 2, MINUTE, 1)])).admitted


def test_scores_without_sense_do_not_lock_anybody_out(
    wire: Wire, redis_client: redis.Redis
) -> None:
    for score in (math.inf, 1e300, -math.inf, -5.0, 0.0):
        redis_client.delete(KEY)
        redis_client.zadd(KEY, {"a": score})
        assert wire.send(acquire([(KEY, 1, MINUTE, 1)])).admitted, score
        assert not wire.send(acquire([(KEY, 1, MINUTE, 1)])).admitted, score
        assert redis_client.zcard(KEY) == 1


def test_a_refusal_changes_no_limit_and_no_expiry(wire: Wire, redis_client: redis.Redis) -> None:
    other = "{log}:1"
    asks = [(other, 100, MINUTE, 1), (KEY, 2, MINUTE, 1)]
    assert [wire.send(acquire(asks)).admitted for _ in range(2)] == [True, True]
    before = {key: (redis_client.dump(key), redis_client.pexpiretime(key)) for key in (KEY, other)}
    for _ in range(20):
        verdict = wire.send(acquire(asks))
        assert not verdict.admitted
        assert [s.remaining for s in verdict.standings] == [98, 0]
        assert [s.retry_us > 0 for s in verdict.standings] == [False, True]
    after = {key: (redis_client.dump(key), redis_client.pexpiretime(key)) for key in (KEY, other)}
    assert after == before


def test_a_refusal_leaves_even_expired_units_alone(wire: Wire, redis_client: redis.Redis) -> None:
    now = server_now(redis_client)
    redis_client.zadd(KEY, {"old": now - 2 * MINUTE, "new": now})
    before = redis_client.dump(KEY)
    assert not wire.send(acquire([(KEY, 1, MINUTE, 1)])).admitted
    assert redis_client.dump(KEY) == before
    assert wire.send(acquire([(KEY, 2, MINUTE, 1)])).admitted
    assert b"old" not in read_log(redis_client, KEY)


def test_a_look_writes_nothing_and_tells_what_one_more_would_meet(
    wire: Wire, redis_client: redis.Redis
) -> None:
    ask = (KEY, 2, MINUTE, 1)
    assert wire.send(peek([ask])).standings[0] == (2, 0, 0, 0, 0)
    assert redis_client.exists(KEY) == 0
    wire.send(acquire([ask]))
    before = redis_client.dump(KEY)
    assert wire.send(peek([ask])).standings[0].retry_us == 0
    assert redis_client.dump(KEY) == before
    wire.send(acquire([ask]))
    standing = wire.send(peek([ask])).standings[0]
    assert standing.remaining == 0
    assert 0 < standing.retry_us == standing.reset_us <= standing.full_us <= MINUTE


def test_a_cost_above_the_limit_never_fits(wire: Wire, redis_client: redis.Redis) -> None:
    verdict = wire.send(acquire([(KEY, 3, MINUTE, 4)]))
    assert not verdict.admitted
    assert verdict.standings[0].retry_us == -1
    assert redis_client.exists(KEY) == 0


def test_a_lowered_limit_waits_for_as_many_units_as_are_too_many(
    wire: Wire, redis_client: redis.Redis
) -> None:
    now = server_now(redis_client)
    redis_client.zadd(KEY, {str(n): now - 50 * SECOND + n * SECOND for n in range(10)})
    early = server_now(redis_client)
    standing = wire.send(acquire([(KEY, 4, MINUTE, 1)])).standings[0]
    late = server_now(redis_client)
    seventh = now - 50 * SECOND + 6 * SECOND + MINUTE  # 10 used: 7 must go before one more fits
    assert seventh - late <= standing.retry_us <= seventh - early
    assert standing.remaining == 0


def _acquire_and_read(client: redis.Redis, ask: asking.Ask) -> tuple[Verdict, list[int], list[int]]:
    """The verdict, and the scores of the log right before and after it."""
    exchange = acquire([ask])
    with client.pipeline(transaction=True) as pipe:
        pipe.zrange(ask[0], 0, -1, withscores=True)
        for command in exchange.commands:
            assert isinstance(command, ScriptCall)
            pipe.execute_command(*command.by_source())  # type: ignore[no-untyped-call]  # redis-py's
        pipe.zrange(ask[0], 0, -1, withscores=True)
        before, reply, after = pipe.execute()
    scores = [[int(score) for _, score in log] for log in (before, after)]
    return exchange.outcome([reply]).result(), scores[0], scores[1]


@pytest.mark.standalone(reason="its MULTI is of redis-py, with bytes")
@pytest.mark.parametrize("window", [1_000, 1_500, 20_000, 60_000])
def test_nobody_is_admitted_before_the_retry_time_and_somebody_at_it(
    wire: Wire, redis_client: redis.Redis, window: int
) -> None:
    limit = 3
    admitted: list[int] = []
    freeing: int | None = None
    while len(admitted) < 60:
        early = server_now(redis_client)
        verdict, before, after = _acquire_and_read(redis_client, (KEY, limit, window, 1))
        late = server_now(redis_client)
        if verdict.admitted:
            admitted.append(max(after))
            assert freeing is None or admitted[-1] >= freeing
        else:
            retry = verdict.standings[0].retry_us
            freeing = before[-limit] + window
            assert early + retry <= freeing <= late + retry
            assert early < freeing  # else it had to be admitted
    gaps = [later - first for first, later in zip(admitted, admitted[limit:], strict=False)]
    assert min(gaps) >= window  # every interval of the window's length holds at most the limit


def test_a_client_that_asks_too_often_gets_its_share(wire: Wire, redis_client: redis.Redis) -> None:
    """The textbook pipeline counts refusals too: it would admit nothing after the first burst."""
    window, limit = 40_000, 2
    start = server_now(redis_client)
    admitted = 0
    while (now := server_now(redis_client)) < start + 10 * window:
        admitted += wire.send(acquire([(KEY, limit, window, 1)])).admitted
    assert admitted >= limit * 5
    assert admitted <= limit * math.ceil((now - start) / window + 1)


def test_two_limits_of_one_call_may_not_share_a_log() -> None:
    with pytest.raises(ValueError, match="same log"):
        acquire([(KEY, 1, MINUTE, 1), (KEY, 5, MINUTE, 1)])


@pytest.mark.standalone(reason="its EVALSHA is of redis-py, with bytes")
def test_the_reply_is_the_same_in_resp2_and_resp3(
    redis_client: redis.Redis, server: Server
) -> None:
    call = scripts.ACQUIRE.call([KEY], ["token", "s", 5, MINUTE, 1, 0]).by_source()
    for protocol in (2, 3):
        redis_client.delete(KEY)
        with redis.Redis.from_url(server.url, protocol=protocol) as client:
            reply = client.execute_command(*call)
        assert (reply[0], reply[2]) == (1, 4)
        assert all(type(number) is int for number in reply)


def test_windows_of_any_length_and_names_of_any_kind_have_their_own_keys() -> None:
    keys = KeyBuilder("shop")
    made = [
        limit_key(keys, "0", name, Limit(1, window))
        for name in ("a", "a/60", "a/60/60", "ä", "a" * 80, "a" * 81, "a" * 82, "a b", "a\nb")
        for window in (SECOND, MINUTE, 500_000, 1_500_000, 60_000_001)
    ]
    assert len(set(made)) == len(made)
    assert max(map(len, made)) < 140
    assert limit_key(keys, "0", "search", Limit(1, MINUTE)) == "frk:{shop:0}:limit:s1:search/60"
    assert (
        limit_key(keys, "0", "search", Limit(1, 1_500_000))
        == "frk:{shop:0}:limit:s1:search/1500000us"
    )


def test_a_long_name_can_not_pretend_to_be_another() -> None:
    keys = KeyBuilder("shop")
    hashed = limit_key(keys, "0", "a" * 200, Limit(1, SECOND)).rpartition(":")[2].rpartition("/")[0]
    assert limit_key(keys, "0", hashed, Limit(1, SECOND)) != limit_key(
        keys, "0", "a" * 200, Limit(1, SECOND)
    )
