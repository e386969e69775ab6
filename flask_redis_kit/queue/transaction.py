"""``tx.queue``: enqueueing as a part of a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.steps import Result
from flask_redis_kit.core.transaction import Transaction
from flask_redis_kit.queue.engine import Jobs, Priority, QueueEngine, TaskOrName

T = TypeVar("T")


class QueueTransaction:
    """What ``kit.queue`` enqueues, enqueued with everything else in the block or not at all."""

    def __init__(self, engine: QueueEngine, tx: Transaction) -> None:
        self._engine = engine
        self._tx = tx
        self._announced: set[str] = set()

    def enqueue(
        self,
        task: TaskOrName,
        payload: Mapping[str, object] | None = None,
        *,
        priority: Priority = "normal",
        queue: str | None = None,
        delay: float | timedelta = 0,
        user: str | int | None = None,
    ) -> Result[str]:
        """As ``kit.queue.enqueue``."""
        jobs = self._engine.jobs(
            [(task, payload)], priority=priority, queue=queue, delay=delay, user=user
        )
        return self._add(jobs, f"queue.enqueue({_spoken(task)})", jobs.ids[0])

    def enqueue_many(
        self,
        jobs: Sequence[tuple[TaskOrName, Mapping[str, object] | None]],
        *,
        priority: Priority = "normal",
        queue: str | None = None,
        delay: float | timedelta = 0,
        user: str | int | None = None,
    ) -> Result[list[str]]:
        """As ``kit.queue.enqueue_many``; however many there are, they are one atomic step."""
        made = self._engine.jobs(jobs, priority=priority, queue=queue, delay=delay, user=user)
        return self._add(made, f"queue.enqueue_many({len(jobs)} jobs)", made.ids)

    def _add(self, made: Jobs, name: str, value: T) -> Result[T]:
        engine = self._engine
        exchanges = [exchange for several in made.exchanges.values() for exchange in several]
        queues = {id(each): queue for queue, several in made.exchanges.items() for each in several}

        def explain(error: Exception, exchange: Exchange[Any]) -> Exception:
            return engine.clearer(queues[id(exchange)], error)

        result = self._tx.add_all(
            engine.context.wire, exchanges, name, lambda _: value, explain=explain
        )
        for queue in engine.unannounced(set(made.exchanges) - self._announced):
            self._announced.add(queue)
            self._tx.add_aside(engine.announcement(queue), partial(engine.announced, queue))
        return result


def _spoken(task: TaskOrName) -> str:
    return repr(task if isinstance(task, str) else getattr(task, "__name__", task))
