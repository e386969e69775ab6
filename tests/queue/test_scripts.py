"""Each script alone, on a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import flask_redis_kit.queue
from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.queue import scripts
from flask_redis_kit.queue.envelope import Body, read_header, seal
from flask_redis_kit.queue.layout import QueueKeys
from tests.core.connecting import wire_to
from tests.harness.servers import Server

LUA = Path(flask_redis_kit.queue.__file__).parent / "lua"
LEASE = 60_000


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with wire_to(server.url) as wire:
        yield wire


def envelope(priority: str = "n", n: int = 0) -> bytes:
    return seal(Codec(), priority, Body("task", {"n": n}, None))


def put(wire: Wire, keys: QueueKeys, *ids: str, priority: str = "n", delay_ms: int = 0) -> int:
    jobs = [(name, envelope(priority)) for name in ids]
    return wire.send(scripts.enqueue(keys, jobs, delay_ms=delay_ms))


def step(wire: Wire, keys: QueueKeys, worker: str = "w", **options: object) -> scripts.Step:
    joining = {"joining": True} | options
    return wire.send(scripts.step(keys, worker, **{"lease_ms": LEASE, **joining}))  # type: ignore[arg-type]


def ids(found: scripts.Step) -> list[str]:
    return [job.id for job in found.fetched]


def expire(client: redis.Redis, keys: QueueKeys, worker: str) -> None:
    client.zadd(keys.workers, {worker: 1})


def reap(wire: Wire, keys: QueueKeys, worker: str, max_crashes: int = 3) -> scripts.Reaped:
    return wire.send(scripts.reap(keys, worker, max_crashes=max_crashes, told=b"poison"))


def test_a_job_that_is_sent_twice_is_queued_once(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    assert put(wire, keys, "a", "b") == 2
    assert put(wire, keys, "a", "b", "c") == 1
    assert redis_client.lrange(keys.normal, 0, -1) == [b"a", b"b", b"c"]


def test_an_id_twice_in_one_call_is_queued_once(wire: Wire, keys: QueueKeys) -> None:
    assert put(wire, keys, "a", "a") == 1
    assert ids(step(wire, keys, want=5)) == ["a"]


def test_a_wrong_type_raises_before_anything_is_written(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    for wrong in (keys.high, keys.normal, keys.low, keys.delayed, keys.jobs):
        redis_client.set(wrong, "x", ex=60)
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            put(wire, keys, "a")
        assert redis_client.keys("frk:*") == [wrong.encode()]
        redis_client.delete(wrong)


def test_a_step_that_meets_a_wrong_type_loses_no_job(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a")
    for wrong in (keys.active("w"), keys.crash, keys.workers, keys.delayed):
        redis_client.set(wrong, "x", ex=60)
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            step(wire, keys, want=1)
        assert redis_client.lrange(keys.normal, 0, -1) == [b"a"]
        redis_client.delete(wrong)
    assert ids(step(wire, keys, want=1)) == ["a"]


def test_fetching_takes_high_before_normal_before_low_and_each_in_order(
    wire: Wire, keys: QueueKeys
) -> None:
    put(wire, keys, "l1", "l2", priority="l")
    put(wire, keys, "n1", "n2")
    put(wire, keys, "h1", "h2", priority="h")
    assert ids(step(wire, keys, want=5)) == ["h1", "h2", "n1", "n2", "l1"]
    assert ids(step(wire, keys, want=5)) == ["l2"]


def test_the_low_end_comes_first_when_asked(wire: Wire, keys: QueueKeys) -> None:
    put(wire, keys, "h1", priority="h")
    put(wire, keys, "l1", priority="l")
    assert ids(step(wire, keys, want=1, order="lnh")) == ["l1"]


def test_a_worker_that_is_not_known_gets_nothing_but_its_acknowledgements_count(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a", "b")
    step(wire, keys, want=1)
    redis_client.zrem(keys.workers, "w")
    found = step(wire, keys, want=1, joining=False, done=("a",))
    assert (found.registered, ids(found)) == (False, [])
    assert redis_client.hkeys(keys.jobs) == [b"b"]


def test_a_worker_late_but_not_reaped_goes_on(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a")
    step(wire, keys, want=1)
    expire(redis_client, keys, "w")
    found = step(wire, keys, joining=False)
    assert (found.registered, found.held, found.expired) == (True, 1, None)
    assert reap(wire, keys, "w") == (0, 0, 0)


def test_cancelled_jobs_are_skipped_and_others_fetched_instead(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a", "b", "c")
    redis_client.hdel(keys.jobs, "a")
    assert ids(step(wire, keys, want=2)) == ["b", "c"]


def test_a_token_is_there_while_jobs_are_waiting_and_never_more_than_one(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a", "b")
    put(wire, keys, "c")
    assert redis_client.llen(keys.wake) == 1
    redis_client.delete(keys.wake)
    step(wire, keys, want=1)
    assert redis_client.llen(keys.wake) == 1
    redis_client.delete(keys.wake)
    step(wire, keys, want=2)
    assert redis_client.llen(keys.wake) == 0


def test_a_delayed_job_wakes_workers_only_if_it_is_the_earliest(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a", delay_ms=60_000)
    assert redis_client.lpop(keys.wake) == b"1"
    put(wire, keys, "b", delay_ms=90_000)
    assert redis_client.lpop(keys.wake) is None
    put(wire, keys, "c", delay_ms=30_000)
    assert redis_client.lpop(keys.wake) == b"1"


def test_a_delayed_job_is_due_by_the_servers_clock_and_not_before(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    seconds, micros = redis_client.time()
    put(wire, keys, "a", delay_ms=60_000)
    due = redis_client.zscore(keys.delayed, "a")
    assert isinstance(due, float)
    assert seconds * 1000 + micros // 1000 + 60_000 <= due <= seconds * 1000 + 65_000
    found = step(wire, keys, want=1)
    assert ids(found) == []
    assert found.wait_ms is not None
    assert due == pytest.approx(found.now_ms + found.wait_ms, abs=1)
    redis_client.zadd(keys.delayed, {"a": found.now_ms})
    assert ids(step(wire, keys, want=1)) == ["a"]


def test_a_paused_queue_hands_out_nothing_and_leaves_no_token(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a")
    redis_client.hset(keys.meta, "paused", 1)
    redis_client.delete(keys.wake)
    assert ids(step(wire, keys, want=1)) == []
    assert redis_client.llen(keys.wake) == 0


@pytest.mark.parametrize("settle", ["retry", "dead"])
def test_only_the_worker_that_holds_a_job_settles_it(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis, settle: str
) -> None:
    put(wire, keys, "a")
    step(wire, keys, want=1)
    for worker, allowed in (("other", False), ("w", True), ("w", False)):
        if settle == "retry":
            exchange = scripts.retry(keys, worker, "a", envelope(), delay_ms=0)
        else:
            exchange = scripts.dead(keys, worker, "a", b"why")
        assert wire.send(exchange) is allowed
    assert redis_client.zcard(keys.delayed) + redis_client.zcard(keys.dead) == 1


def test_the_first_success_wins_over_a_copy_that_was_given_to_another_worker(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a")
    step(wire, keys, "late", want=1)
    expire(redis_client, keys, "late")
    assert reap(wire, keys, "late") == (1, 0, 0)
    assert ids(step(wire, keys, "w", want=1)) == ["a"]
    step(wire, keys, "late", joining=False, done=("a",))
    assert redis_client.hlen(keys.jobs) == 0
    assert wire.send(scripts.retry(keys, "w", "a", envelope(), delay_ms=0)) is False
    assert redis_client.zcard(keys.delayed) == 0


def test_a_late_success_takes_a_job_back_from_the_delayed(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a")
    step(wire, keys, "late", want=1)
    expire(redis_client, keys, "late")
    reap(wire, keys, "late")
    step(wire, keys, "w", want=1)
    assert wire.send(scripts.retry(keys, "w", "a", envelope(), delay_ms=60_000))
    step(wire, keys, "late", joining=False, done=("a",))
    assert redis_client.exists(keys.delayed, keys.jobs, keys.crash) == 0


def test_a_late_success_takes_a_job_back_from_the_dead(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a")
    step(wire, keys, want=1)
    expire(redis_client, keys, "w")
    assert reap(wire, keys, "w", max_crashes=0) == (0, 1, 0)
    assert redis_client.hget(keys.deadx, "a") == b"poison"
    step(wire, keys, joining=False, done=("a",))
    assert redis_client.exists(keys.dead, keys.deadx, keys.jobs, keys.crash) == 0


def test_reaping_keeps_the_order_and_counts_the_crash(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, *(f"{n}" for n in range(6)))
    step(wire, keys, want=4)
    expire(redis_client, keys, "w")
    assert step(wire, keys, "other").expired == "w"
    assert reap(wire, keys, "w") == (4, 0, 0)
    found = step(wire, keys, "other", want=9)
    assert ids(found) == ["0", "1", "2", "3", "4", "5"]
    assert [job.crashes for job in found.fetched] == [1, 1, 1, 1, 0, 0]
    assert reap(wire, keys, "w") == (0, 0, 0)


def test_reaping_is_bounded_and_goes_on_where_it_stopped(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, *(f"{n:03}" for n in range(450)))
    step(wire, keys, want=450)
    expire(redis_client, keys, "w")
    assert reap(wire, keys, "w") == (200, 0, 250)
    assert reap(wire, keys, "w") == (200, 0, 50)
    assert reap(wire, keys, "w") == (50, 0, 0)
    assert redis_client.lrange(keys.normal, 0, -1) == [b"%03d" % n for n in range(450)]
    assert redis_client.zcard(keys.workers) == 0


def test_releasing_keeps_the_order_and_what_runs(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a", "b", "c", "d")
    put(wire, keys, "h", priority="h")
    step(wire, keys, want=4)
    assert wire.send(scripts.release(keys, "w", keep=("b",))) == 3
    assert redis_client.zcard(keys.workers) == 1
    assert wire.send(scripts.release(keys, "w", leaving=True)) == 1
    assert redis_client.zcard(keys.workers) == 0
    assert ids(step(wire, keys, "other", want=9)) == ["h", "b", "a", "c", "d"]
    assert redis_client.hlen(keys.crash) == 0


def test_reconciling_tells_what_is_held_and_drops_what_is_gone(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a", "b", "c")
    step(wire, keys, want=3)
    redis_client.hdel(keys.jobs, "c")
    found = wire.send(scripts.reconcile(keys, "w", ["a", "elsewhere"]))
    assert found.known == {"a"}
    assert [(job.id, job.envelope) for job in found.unknown] == [("b", envelope())]
    assert redis_client.lrange(keys.active("w"), 0, -1) == [b"a", b"b"]


def test_dead_letters_are_capped_and_expire(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "DEAD_MAX", 2)
    put(wire, keys, "a", "b", "c", "d")
    step(wire, keys, want=4)
    for name in ("a", "b", "c"):
        wire.send(scripts.dead(keys, "w", name, b"why"))
    assert redis_client.zrange(keys.dead, 0, -1) == [b"b", b"c"]
    redis_client.zadd(keys.dead, {"b": 1})
    wire.send(scripts.dead(keys, "w", "d", b"why"))
    assert redis_client.zrange(keys.dead, 0, -1) == [b"c", b"d"]
    assert sorted(redis_client.hkeys(keys.deadx)) == [b"c", b"d"]
    assert sorted(redis_client.hkeys(keys.jobs)) == [b"c", b"d"]


def test_a_retry_goes_to_delayed_with_its_new_envelope(
    wire: Wire, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    put(wire, keys, "a")
    (job,) = step(wire, keys, want=1).fetched
    again = read_header(job.envelope).pack(failures=1)
    assert wire.send(scripts.retry(keys, "w", "a", again, delay_ms=0))
    (job,) = step(wire, keys, want=1).fetched
    assert read_header(job.envelope).failures == 1


@pytest.mark.parametrize("path", sorted(LUA.glob("*.lua")), ids=lambda path: path.stem)
def test_the_header_of_a_script_names_its_keys_and_arguments(path: Path) -> None:
    source = path.read_text()
    header = "".join(line for line in source.splitlines(True) if line.startswith("--"))
    body = source.removeprefix(header)
    for word in ("-- KEYS  ", "-- ARGV  ", "-- RETURNS  "):
        assert word in header
    named = header[header.index("-- KEYS") : header.index("-- ARGV")]
    listed = [int(n) for n in re.findall(r"\b(\d+)\b(?! jobs of)", named)]
    used = [int(n) for n in re.findall(r"KEYS\[(\d+)\]", body)]
    assert max(used) <= max(listed)
