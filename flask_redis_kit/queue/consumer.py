"""One queue as one worker sees it: what it holds, what it has to tell, what it wants."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.queue import scripts
from flask_redis_kit.queue.layout import QueueKeys
from flask_redis_kit.queue.runner import Again, Buried, Done, HeldJob, Outcome

log = logging.getLogger("flask_redis_kit.queue")

POISON = b"poison: the worker died each time it ran"
RECENT_SECONDS = 60.0
RECENT_MAX = 10_000
LOW_FIRST_EVERY = 8
"""Every so many fetches the lowest priority comes first, so that it never starves."""


class Consumer:
    """State of one queue in one worker; used by the worker's own thread only.

    ``hungry``    there may be jobs to fetch. ``due_at``: a delayed job is due then (monotonic).
    ``beat_at``   when the lease has to be renewed next.
    ``doubtful``  replies were lost: the server's list has to be compared with ours.
    """

    def __init__(self, keys: QueueKeys, *, lease: float, max_crashes: int) -> None:
        self.keys = keys
        self._lease_ms = max(1, round(lease * 1000))
        self._max_crashes = max_crashes
        self.beat = lease / 3
        self.worker = new_worker_id()
        self.joined = False
        self.hungry = True
        self.due_at: float | None = None
        self.beat_at = 0.0
        self.doubtful = False
        self._reap_from = 0.0
        self._expired: str | None = None
        self._fetches = 0
        self._held: dict[str, HeldJob] = {}
        self._acks: list[str] = []
        self._settlements: list[Exchange[bool]] = []
        self._recent: deque[tuple[float, str]] = deque(maxlen=RECENT_MAX)

    # what happened here

    def finished(self, job: HeldJob, outcome: Outcome) -> None:
        """A thread is through with a job."""
        self._held.pop(job.id, None)
        match outcome:
            case Done():
                self._acks.append(job.id)
                self._recent.append((time.monotonic(), job.id))
            case _ if job.lost:
                log.warning("Job %s failed here after it was given to another worker.", job.id)
            case Again(envelope, delay_ms, counter):
                self._settlements.append(
                    scripts.retry(
                        self.keys, self.worker, job.id, envelope, delay_ms=delay_ms, counter=counter
                    )
                )
            case Buried(reason):
                self._settlements.append(scripts.dead(self.keys, self.worker, job.id, reason))

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell the server."""
        return bool(self._acks or self._settlements)

    # what to send

    def due(self, now: float) -> bool:
        """Whether a step is needed though there is nothing to tell and nothing wanted."""
        return now >= self.beat_at or not self.joined

    def exchanges(self, want: int) -> list[Exchange[Any]]:
        """All settlements, then the step, whose value ``took`` gets. One trip."""
        return [*self._settlements, self.step(want)]

    def step(self, want: int) -> Exchange[scripts.Step]:
        """A step with all acknowledgements."""
        order: Literal["hnl", "lnh"] = "hnl"
        if want and self._fetches % LOW_FIRST_EVERY == LOW_FIRST_EVERY - 1:
            order = "lnh"
        return scripts.step(
            self.keys, self.worker, lease_ms=self._lease_ms, want=want, done=tuple(self._acks),
            joining=not self.joined, order=order,
        )  # fmt: skip

    def leaving(self) -> list[Exchange[Any]]:
        """Everything there is to tell, then give back what is still held and sign off."""
        last = scripts.release(self.keys, self.worker, leaving=True)
        return [*self.exchanges(0), last] if self.joined else [last]

    def releasing(self, unstarted: Sequence[HeldJob]) -> Exchange[int]:
        """Give back what isn't running, and what the server thinks is ours and isn't."""
        for job in unstarted:
            self._held.pop(job.id, None)
        return scripts.release(self.keys, self.worker, keep=tuple(self._held))

    def reconciling(self) -> Exchange[scripts.Reconciled]:
        """Compare the server's list with ours."""
        return scripts.reconcile(self.keys, self.worker, tuple(self._held))

    def reaping(self, now: float) -> Exchange[scripts.Reaped] | None:
        """Take back the jobs of a worker that is gone, if one is."""
        if self._expired is None or now < self._reap_from:
            return None
        return scripts.reap(self.keys, self._expired, max_crashes=self._max_crashes, told=POISON)

    # what the server said

    def told(self) -> None:
        """All that ``exchanges`` had to tell has arrived."""
        self._acks.clear()
        self._settlements.clear()

    def took(
        self, step: scripts.Step, want: int, now: float, *, parked: bool = False
    ) -> list[HeldJob]:
        """A step's reply; returns the jobs to run.

        ``parked``: another step of this queue is still out, so the lists can't be compared.
        """
        if not step.registered:
            self._reborn()
            return []
        self.joined = True
        self.beat_at = now + self.beat
        self._expired = step.expired
        self.due_at = None if step.wait_ms is None else now + step.wait_ms / 1000
        if want:
            self._fetches += bool(step.fetched)
            self.hungry = len(step.fetched) >= want
        jobs = self._adopt(step.fetched, step.now_ms)
        if not parked and step.held != sum(not job.lost for job in self._held.values()):
            self.doubtful = True
        return jobs

    def reconciled(self, found: scripts.Reconciled, now_ms: int) -> list[HeldJob]:
        """The comparison's reply; returns the jobs to run."""
        self.doubtful = False
        for job in self._held.values():
            job.lost = job.id not in found.known
        finished = {name for _, name in self._recent}
        again = [job.id for job in found.unknown if job.id in finished]
        self._acks += again
        new = tuple(job for job in found.unknown if job.id not in finished)
        if new:
            log.warning("Running %d jobs of %s whose fetch was lost.", len(new), self.keys.queue)
        return self._adopt(new, now_ms)

    def reaped(self, result: scripts.Reaped) -> None:
        """A dead worker's jobs were taken back."""
        if result.given_back or result.dead:
            log.warning(
                "Worker %s of queue %s is gone: %d jobs run again, %d are dead.",
                self._expired, self.keys.queue, result.given_back, result.dead,
            )  # fmt: skip
            self.hungry = True
        if not result.left:
            self._expired = None

    def broken(self, now: float) -> None:
        """The connection broke: what was told is told again, what was said is compared.

        Acknowledgements of the last minute too: the server may have lost them (a failover, a
        restart). Others get the time of a beat to come back before they count as dead.
        """
        while self._recent and self._recent[0][0] < now - RECENT_SECONDS:
            self._recent.popleft()
        self._acks = list(dict.fromkeys([*(name for _, name in self._recent), *self._acks]))
        self.doubtful = self.joined
        self.hungry = True
        self.beat_at = 0.0
        self._reap_from = now + self.beat

    def _adopt(self, fetched: Sequence[scripts.Fetched], now_ms: int) -> list[HeldJob]:
        jobs = []
        for each in fetched:
            held = self._held.get(each.id)
            if held is not None:
                held.lost = False  # it still runs here, and is ours again
                continue
            job = HeldJob(each.id, each.envelope, each.crashes, now_ms)
            self._held[each.id] = job
            jobs.append(job)
        return jobs

    def _reborn(self) -> None:
        log.warning(
            "Worker %s of queue %s counted as dead (no sign for longer than REDIS_QUEUE_LEASE); "
            "going on under a new name. %d jobs may run twice.",
            self.worker, self.keys.queue, len(self._held),
        )  # fmt: skip
        self.worker = new_worker_id()
        self.joined = False
        self.doubtful = False
        self.hungry = True
        self._settlements.clear()
        for job in self._held.values():
            job.lost = True


def new_worker_id() -> str:
    """``host:pid:random``, fit for a key."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:64]
    return f"{host}:{os.getpid()}:{secrets.token_hex(6)}"
