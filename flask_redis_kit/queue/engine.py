"""The queue of one application, as producers and dashboards see it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from redis.exceptions import ResponseError

from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context
from flask_redis_kit.queue import record, scripts
from flask_redis_kit.queue.config import QueueConfig
from flask_redis_kit.queue.envelope import Body, seal
from flask_redis_kit.queue.errors import QueueDamaged, TaskError
from flask_redis_kit.queue.figures import QueueStats, names, statistics
from flask_redis_kit.queue.job import JobStatus
from flask_redis_kit.queue.layout import (
    PRIORITIES,
    QueueKeys,
    checked_queue,
    keys_of,
    names_key,
    new_id,
    queue_of,
)
from flask_redis_kit.queue.status import status
from flask_redis_kit.queue.task import Task, TaskRegistry

log = logging.getLogger("flask_redis_kit.queue")

Priority = Literal["high", "normal", "low"]
TaskOrName = str | Callable[..., Any]
ANNOUNCE_EVERY = 60.0
LONGEST_DELAY = 10 * 366 * 24 * 3600.0


class Jobs(NamedTuple):
    """Jobs that are not sent yet: their ids, and what enqueues them, by queue."""

    ids: list[str]
    exchanges: dict[str, list[Exchange[int]]]


class QueueEngine:
    """Enqueues, and tells how jobs and queues are. Thread-safe."""

    def __init__(self, context: Context[QueueConfig], tasks: TaskRegistry) -> None:
        self.context = context
        self.config = context.config
        self.tasks = tasks
        self._keys: dict[str, QueueKeys] = {}
        self._announced: dict[str, float] = {}

    def keys(self, queue: str) -> QueueKeys:
        """The keys of a queue."""
        keys = self._keys.get(queue)
        if keys is None:
            keys = self._keys[queue] = keys_of(self.context.keys, checked_queue(queue))
        return keys

    def enqueue(
        self,
        task: TaskOrName,
        payload: Mapping[str, object] | None = None,
        *,
        priority: Priority = "normal",
        queue: str | None = None,
        delay: float | timedelta = 0,
        user: str | int | None = None,
    ) -> str:
        """Add one job; its id."""
        return self.enqueue_many(
            [(task, payload)], priority=priority, queue=queue, delay=delay, user=user
        )[0]

    def enqueue_many(
        self,
        jobs: Sequence[tuple[TaskOrName, Mapping[str, object] | None]],
        *,
        priority: Priority = "normal",
        queue: str | None = None,
        delay: float | timedelta = 0,
        user: str | int | None = None,
    ) -> list[str]:
        """Add jobs in this order, in one trip; their ids. Nothing is sent if one is wrong."""
        made = self.jobs(jobs, priority=priority, queue=queue, delay=delay, user=user)
        if made.exchanges:
            self._send(made)
        return made.ids

    def jobs(
        self,
        jobs: Sequence[tuple[TaskOrName, Mapping[str, object] | None]],
        *,
        priority: Priority,
        queue: str | None,
        delay: float | timedelta,
        user: str | int | None,
    ) -> Jobs:
        """Jobs, checked and ready to be sent; while the queue is off only their ids."""
        letter = _letter(priority)
        delay_ms = _milliseconds(delay)
        if user is not None and (isinstance(user, bool) or not isinstance(user, str | int)):
            raise TypeError(f"user={user!r} must be a str or an int: the id that events go to.")
        ids: list[str] = []
        sealed: dict[str, list[tuple[str, bytes]]] = {}
        for task, payload in jobs:
            name, to, body = self._checked(task, payload, queue)
            envelope = seal(self.context.codec, letter, Body(name, body, user))
            ids.append(new_id(to))
            sealed.setdefault(to, []).append((ids[-1], envelope))
        if not self.config.enabled:
            return Jobs(ids, {})
        step = scripts.BATCH
        return Jobs(
            ids,
            {
                to: [
                    scripts.enqueue(self.keys(to), batch[n : n + step], delay_ms=delay_ms)
                    for n in range(0, len(batch), step)
                ]
                for to, batch in sealed.items()
            },
        )

    def job(self, job_id: str) -> JobStatus:
        """How a job is: one trip, two if it is waiting or running."""
        if not isinstance(job_id, str):
            raise TypeError(f"job({job_id!r}): a job's id is a str.")
        queue = queue_of(job_id)
        if queue is None or not self.config.enabled:
            return JobStatus(job_id, "unknown")
        with self.damage(queue):
            return self.context.run(status(self.keys(queue), self.context.codec, job_id))

    def stats(self) -> list[QueueStats]:
        """Every queue in figures: two trips."""
        found = self.context.send(names(self.context.keys))
        outcomes = self.context.send_many([statistics(self.keys(name)) for name in found])
        return [outcome.result() for outcome in outcomes]

    def store(self, job_id: str, kept: record.Record) -> None:
        """Write a job's record: one trip."""
        queue = queue_of(job_id)
        if queue is not None:
            ttl = self.config.result_ttl
            self.context.send(record.store(self.keys(queue), self.context.codec, job_id, kept, ttl))

    def announcement(self, queue: str) -> Exchange[None]:
        """Puts the queue's name among the names of all."""
        key = names_key(self.context.keys)
        return Exchange(
            "queue", key, [("SADD", key, queue)], lambda _: None, idempotent=True, deferrable=True
        )

    def unannounced(self, queues: Iterable[str]) -> list[str]:
        """Those of the queues whose names were not announced lately."""
        oldest = time.monotonic() - ANNOUNCE_EVERY
        return [queue for queue in queues if self._announced.get(queue, -math.inf) < oldest]

    def announced(self, queue: str, outcome: Outcome[None]) -> None:
        """What came of an announcement; the next one is due all the earlier if it failed."""
        if outcome.error is None:
            self._announced[queue] = time.monotonic()
        elif not isinstance(outcome.error, FAILURES):
            raise outcome.error

    @contextmanager
    def damage(self, queue: str) -> Generator[None]:
        """Turn the server's WRONGTYPE into an error that says what to look for."""
        try:
            yield
        except ResponseError as error:
            told = self.clearer(queue, error)
            if told is error:
                raise
            raise told from error

    def clearer(self, queue: str, error: Exception) -> Exception:
        """The error, or a clearer one that says what to look for."""
        if not isinstance(error, ResponseError) or "WRONGTYPE" not in str(error):
            return error
        return QueueDamaged(
            f"A key of the queue {queue!r} holds a value of another type: somebody else wrote "
            f"to one of {self.keys(queue).start}:*. Look at them with TYPE, and delete the "
            "wrong one.",
            queue=queue,
        )

    def _send(self, made: Jobs) -> None:
        sent = [(queue, each) for queue, several in made.exchanges.items() for each in several]
        due = self.unannounced(made.exchanges)
        exchanges = [exchange for _, exchange in sent] + [self.announcement(name) for name in due]
        outcomes: list[Outcome[Any]] = self.context.send_many(exchanges)
        for name, outcome in zip(due, outcomes[len(sent) :], strict=True):
            self.announced(name, outcome)
        for (queue, _), outcome in zip(sent, outcomes, strict=False):
            with self.damage(queue):
                outcome.result()

    def _checked(
        self,
        task: TaskOrName,
        payload: Mapping[str, object] | None,
        queue: str | None,
    ) -> tuple[str, str, dict[str, Any]]:
        known: Task | None
        if isinstance(task, str):
            name, known = task, self.tasks.named(task)
            if not name:
                raise TaskError("A task's name must not be empty.")
        else:
            known = self.tasks.of(task)
            name = known.name
        body = _checked_payload(name, payload)
        if known is not None:
            known.check(body)
        to = queue if queue is not None else known.queue if known is not None else "default"
        return name, checked_queue(to), body


def _checked_payload(name: str, payload: Mapping[str, object] | None) -> dict[str, Any]:
    if payload is None:
        return {}
    if not isinstance(payload, Mapping):
        raise TypeError(
            f"The payload of {name!r} must be a dict of its arguments, not {payload!r:.100}."
        )
    for key in payload:
        if not isinstance(key, str):
            raise TypeError(f"The payload of {name!r} has the key {key!r}: keys must be str.")
    return dict(payload)


def _letter(priority: object) -> str:
    if isinstance(priority, str) and priority in PRIORITIES:
        return PRIORITIES[priority]
    raise TaskError(f"priority={priority!r} must be one of {', '.join(map(repr, PRIORITIES))}.")


def _milliseconds(delay: object) -> int:
    if isinstance(delay, timedelta):
        seconds = delay.total_seconds()
    elif isinstance(delay, int | float) and not isinstance(delay, bool):
        seconds = float(delay)
    else:
        raise TypeError(f"delay={delay!r} must be a number of seconds or a timedelta.")
    if not 0 <= seconds <= LONGEST_DELAY:
        raise TaskError(f"delay={delay!r} must be between 0 seconds and ten years.")
    return math.ceil(seconds * 1000)
