"""The queue's scripts as Exchanges: one function for each, with typed arguments and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from flask_redis_kit.core.exchange import Exchange, Reply, first
from flask_redis_kit.core.script import Arg, Script
from flask_redis_kit.queue.layout import QueueKeys

FEATURE: Final = "queue"
BATCH: Final = 1000
"""How many jobs one call of ``enqueue`` takes."""
DEAD_MAX: Final = 10_000
DEAD_TTL_MS: Final = 7 * 24 * 3600 * 1000

# what workers run is allowed when memory is full (allow-oom): only they can empty the queue
ENQUEUE = Script(__package__, "lua/enqueue.lua")
STEP = Script(__package__, "lua/step.lua")
RETRY = Script(__package__, "lua/retry.lua")
DEAD = Script(__package__, "lua/dead.lua")
RELEASE = Script(__package__, "lua/release.lua")
REAP = Script(__package__, "lua/reap.lua")
RECONCILE = Script(__package__, "lua/reconcile.lua")


class Fetched(NamedTuple):
    """A job that a worker holds now. ``crashes``: how many workers died of it."""

    id: str
    envelope: bytes
    crashes: int


class Step(NamedTuple):
    """What came of a worker's step.

    ``registered``  False: the worker was reaped and must take a new name.
    ``wait_ms``     until the next delayed job is due; None: there is none.
    ``expired``     a worker to be reaped.
    ``held``        how many jobs the server says this worker holds, the fetched ones included.
    """

    registered: bool
    now_ms: int
    wait_ms: int | None
    expired: str | None
    held: int
    fetched: tuple[Fetched, ...]


class Reaped(NamedTuple):
    """What became of a dead worker's jobs; ``left``: call again."""

    given_back: int
    dead: int
    left: int


class Reconciled(NamedTuple):
    """A worker's own list: which of the known jobs are in it, and the unknown ones."""

    known: frozenset[str]
    unknown: tuple[Fetched, ...]


def enqueue(
    keys: QueueKeys, jobs: Sequence[tuple[str, bytes]], *, delay_ms: int = 0
) -> Exchange[int]:
    """Add up to 1000 jobs (id, envelope); how many are new. Idempotent by id."""
    args: list[Arg] = [delay_ms]
    for job in jobs:
        args += job
    call = ENQUEUE.call((keys.jobs, *keys.waiting, keys.wake, keys.delayed), args)
    return Exchange(FEATURE, keys.jobs, [call], first, idempotent=True)


def step(
    keys: QueueKeys,
    worker: str,
    *,
    lease_ms: int,
    want: int = 0,
    done: Sequence[str] = (),
    joining: bool = False,
    order: Literal["hnl", "lnh"] = "hnl",
) -> Exchange[Step]:
    """Heartbeat, acknowledge, promote, fetch: one call. Not to be re-sent blindly."""
    call = STEP.call(
        (
            keys.jobs, keys.active(worker), keys.wake, keys.delayed, *keys.waiting, keys.workers,
            keys.crash, keys.dead, keys.deadx, keys.meta, keys.stats,
        ),
        (worker, lease_ms, want, int(joining), order, *done),
    )  # fmt: skip
    return Exchange(FEATURE, keys.jobs, [call], lambda replies: _step(replies[0]))


def retry(
    keys: QueueKeys,
    worker: str,
    job_id: str,
    envelope: bytes,
    *,
    delay_ms: int,
    counter: Literal["retried", "unknown"] = "retried",
) -> Exchange[bool]:
    """Run a held job again after the delay; False if it isn't held any more. Idempotent."""
    call = RETRY.call(
        (keys.jobs, keys.active(worker), keys.delayed, keys.wake, keys.stats),
        (job_id, envelope, delay_ms, counter),
    )
    return Exchange(FEATURE, keys.jobs, [call], lambda r: bool(r[0]), idempotent=True)


def dead(keys: QueueKeys, worker: str, job_id: str, told: bytes) -> Exchange[bool]:
    """Move a held job to the dead letters; False if it isn't held any more. Idempotent."""
    call = DEAD.call(
        (keys.jobs, keys.active(worker), keys.dead, keys.deadx, keys.crash, keys.stats),
        (job_id, told, DEAD_MAX, DEAD_TTL_MS),
    )
    return Exchange(FEATURE, keys.jobs, [call], lambda r: bool(r[0]), idempotent=True)


def release(
    keys: QueueKeys, worker: str, *, keep: Sequence[str] = (), leaving: bool = False
) -> Exchange[int]:
    """Give back what a worker holds, except ``keep``; how many. Idempotent."""
    call = RELEASE.call(
        (keys.jobs, keys.active(worker), *keys.waiting, keys.wake, keys.workers),
        (worker, int(leaving), *keep),
    )
    return Exchange(FEATURE, keys.jobs, [call], first, idempotent=True)


def reap(keys: QueueKeys, worker: str, *, max_crashes: int, told: bytes) -> Exchange[Reaped]:
    """Take back the jobs of a dead worker, at most 200 a call. Harmless if it lives."""
    call = REAP.call(
        (
            keys.workers, keys.active(worker), keys.jobs, *keys.waiting, keys.wake, keys.crash,
            keys.dead, keys.deadx, keys.stats,
        ),
        (worker, max_crashes, told, DEAD_MAX, DEAD_TTL_MS),
    )  # fmt: skip
    return Exchange(FEATURE, keys.jobs, [call], lambda replies: Reaped(*replies[0]))


def reconcile(keys: QueueKeys, worker: str, known: Sequence[str]) -> Exchange[Reconciled]:
    """Compare a worker's own list with what it knows of."""
    call = RECONCILE.call((keys.jobs, keys.active(worker), keys.crash), known)

    def parse(replies: list[Reply]) -> Reconciled:
        found, unknown = replies[0]
        return Reconciled(frozenset(name.decode() for name in found), _fetched(unknown))

    return Exchange(FEATURE, keys.jobs, [call], parse, idempotent=True)


def _step(reply: list[Reply]) -> Step:
    registered, now_ms, wait_ms, expired, held = reply[:5]
    return Step(
        registered=bool(registered),
        now_ms=now_ms,
        wait_ms=None if wait_ms < 0 else wait_ms,
        expired=expired.decode() or None,
        held=held,
        fetched=_fetched(reply[5:]),
    )


def _fetched(flat: list[Reply]) -> tuple[Fetched, ...]:
    jobs = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return tuple(Fetched(name.decode(), envelope, _count(times)) for name, envelope, times in jobs)


def _count(text: bytes) -> int:
    """A counter; a damaged one counts as none."""
    return int(text) if text.isdigit() else 0
