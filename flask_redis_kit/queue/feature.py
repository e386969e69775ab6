"""``kit.queue``: the declaration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar, overload

import click

from flask_redis_kit.core.durability import eviction_warnings, persistence_warnings
from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.core.transaction import Transaction
from flask_redis_kit.queue.commands import queue_commands
from flask_redis_kit.queue.config import QueueConfig
from flask_redis_kit.queue.engine import Priority, QueueEngine, TaskOrName
from flask_redis_kit.queue.figures import QueueStats
from flask_redis_kit.queue.job import JobStatus
from flask_redis_kit.queue.layout import KEYSPACE, checked_queue
from flask_redis_kit.queue.task import TaskRegistry, declare
from flask_redis_kit.queue.transaction import QueueTransaction

F = TypeVar("F", bound=Callable[..., Any])


class QueueFeature(Feature[QueueConfig, QueueEngine]):
    """Jobs that run later, in another process, at least once. ``flask redis worker`` runs them.

    Tasks belong to the declaration, so all applications of a kit share them; jobs belong to the
    application (its server and namespace).
    """

    name: ClassVar[str] = "queue"
    config_class: ClassVar[type[QueueConfig]] = QueueConfig
    keyspace: ClassVar[tuple[KeySpec, ...]] = KEYSPACE

    def __init__(self) -> None:
        self.tasks = TaskRegistry()

    def build(self, context: Context[QueueConfig]) -> QueueEngine:
        return QueueEngine(context, self.tasks)

    @overload
    def task(self, function: F, /) -> F: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        retries: int | None = None,
        keep_result: bool = False,
    ) -> Callable[[F], F]: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        retries: int | None = None,
        keep_result: bool = False,
    ) -> Any:
        """Let workers run a function, sync or async, in the application's context.

        It is called with the payload as keyword arguments, **at least once**: again if it raises
        or its worker dies, so make it safe to repeat. The function itself stays as it is.

        ``name``         stored in the jobs (default: the function's name); keep it when you move
                         or rename the function.
        ``queue``        where its jobs go unless ``enqueue`` says otherwise.
        ``retries``      runs after the first that raised (default: ``REDIS_QUEUE_RETRIES``), with
                         a doubling wait in between; then the job is dead.
        ``keep_result``  store what it returns for ``kit.queue.job(id).result``.

        Raises ``TaskError`` or ``TypeError`` at once for what can't be.
        """

        def decorate(decorated: F) -> F:
            self.tasks.add(
                declare(
                    decorated,
                    name=name,
                    queue=checked_queue(queue),
                    retries=retries,
                    keep_result=keep_result,
                )
            )
            return decorated

        return decorate if function is None else decorate(function)

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
        """Add a job: a task (or its name) and its arguments. Returns the id, ``<queue>.<uuid>``.

        ``delay``  seconds or timedelta by the server's clock: it runs when due, never before.
        ``user``   whom its progress is told as events.

        One round trip, atomic; sent again after a broken connection it is still one job. Raises
        ``ServerUnavailable`` at once when the server is away (``ReplyTimeout``: the job may be in),
        ``TypeError`` for arguments that the function doesn't take, ``CodecError`` for values that
        can't be stored.
        """
        return self.engine().enqueue(
            task, payload, priority=priority, queue=queue, delay=delay, user=user
        )

    def enqueue_many(
        self,
        jobs: Sequence[tuple[TaskOrName, Mapping[str, object] | None]],
        *,
        priority: Priority = "normal",
        queue: str | None = None,
        delay: float | timedelta = 0,
        user: str | int | None = None,
    ) -> list[str]:
        """Add jobs, ``[(task, payload), …]``, in this order; their ids.

        One round trip however many; 1000 of a queue at a time are one atomic step. If one of them
        is wrong nothing is sent.
        """
        return self.engine().enqueue_many(
            jobs, priority=priority, queue=queue, delay=delay, user=user
        )

    def transactional(self, tx: Transaction) -> QueueTransaction:
        """``tx.queue``."""
        return QueueTransaction(self.engine(), tx)

    def job(self, job_id: str) -> JobStatus:
        """How a job is: its state, progress and, if kept, result. One or two round trips.

        A finished job leaves nothing behind unless it told its progress or its result is kept;
        then it is "unknown", as is any string that is no job's id.
        """
        return self.engine().job(job_id)

    def stats(self) -> list[QueueStats]:
        """Every queue in figures. Two round trips."""
        return self.engine().stats()

    def commands(self) -> Sequence[click.Command]:
        return queue_commands(self)

    def warnings(self, context: Context[QueueConfig]) -> Iterable[str]:
        if not context.config.enabled:
            return
        yield from eviction_warnings(
            context.wire,
            "jobs can vanish",
            "give the queue a server of its own by REDIS_QUEUE_URL",
        )
        yield from persistence_warnings(context.wire, "all jobs")
