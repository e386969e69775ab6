"""How a worker waits for jobs.

Blocking has to be crash-safe over several lists, so jobs are only moved by scripts and a worker
blocks on a token: it sends ``BLPOP wake`` and its next step in one go, and the server runs the
step the moment it is woken. A push to wake is all it takes, and no job is ever in between.

On Cluster queues may lie on different servers, and a worker waits at each. With several places to
wait at, their steps ask for no jobs: which of them will be woken, and for how many, isn't known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.queue.consumer import Consumer
from flask_redis_kit.queue.line import Line, Lines, Quick
from flask_redis_kit.queue.scripts import Step

REST = 0.05
"""Seconds before waiting again at a place that is on its way elsewhere."""
_ELSEWHERE = (AskError, TryAgainError, ClusterDownError, ReadOnlyError)  # MOVED is an AskError


class Woken(NamedTuple):
    """The end of a park. ``key``: whose token was taken; None: the time was over."""

    key: str | None
    consumer: Consumer
    want: int
    step: Step


class Parking:
    """``BLPOP`` on the wake tokens of some queues with one queue's step behind it.

    ``lead``  whose step: the queue that was woken last.
    ``want``  how many jobs that step asks for: as many threads are spoken for.
    ``ends``  when the reply is overdue, or the rest is over (monotonic).
    """

    def __init__(
        self, line: Line, consumers: Sequence[Consumer], *, longest: float, reply: float
    ) -> None:
        self._line = line
        self.consumers = tuple(consumers)
        self.lead = self.consumers[0]
        self._longest = longest
        self._reply = reply
        self._exchange: Exchange[Step] | None = None
        self._consumer: Consumer | None = None
        self.want = 0
        self.ends = 0.0

    @property
    def occupied(self) -> bool:
        """Whether replies are still to come."""
        return self._exchange is not None

    def holds(self, consumer: Consumer) -> bool:
        """Whether a step of this queue is out."""
        return self.occupied and self._consumer is consumer

    @property
    def ready(self) -> bool:
        """Whether it is empty, and none of its queues has anything to do first."""
        if self.occupied or self.ends > time.monotonic():
            return False
        return not any(consumer.hungry or not consumer.joined for consumer in self.consumers)

    def enter(self, want: int) -> None:
        """Block until there is a token, a delayed job is due, or the time is over."""
        now = time.monotonic()
        consumer = self.lead
        seconds = min(self._longest, consumer.beat)
        for each in self.consumers:
            if each.due_at is not None:
                seconds = min(seconds, each.due_at - now)
        seconds = max(seconds, 0.001)
        exchange = consumer.step(want)
        blpop = ("BLPOP", *(each.keys.wake for each in self.consumers), f"{seconds:.3f}")
        self._line.send([blpop, *exchange.commands])
        self._exchange, self._consumer, self.want = exchange, consumer, want
        self.ends = now + seconds + self._reply
        consumer.beat_at = now + seconds + consumer.beat

    def leave(self, quick: Quick) -> Woken:
        """Read the replies (they are there, or about to be), and say who is hungry now."""
        exchange, consumer, want = self._exchange, self._consumer, self.want
        assert exchange is not None  # noqa: S101  # callers look at `occupied` first
        assert consumer is not None  # noqa: S101
        self._exchange, self.want, self.ends = None, 0, 0.0
        popped, *replies = self._line.read(1 + len(exchange.commands))
        if isinstance(popped, _ELSEWHERE):
            self._line.drop()  # the next connection goes where the queue is by then
            self.ends = time.monotonic() + REST
            popped = None
        elif isinstance(popped, ResponseError):
            raise popped
        key = None if popped is None else popped[0].decode()
        if any(isinstance(reply, (NoScriptError, *_ELSEWHERE)) for reply in replies):
            step = quick.ask([exchange])[0]  # the token is gone: step at once
        else:
            step = exchange.outcome(replies).result()
        for each in self.consumers:
            asked = each is consumer and want > 0
            if not asked and key in (None, each.keys.wake):
                each.hungry = True
                if key is not None:
                    self.lead = each
        return Woken(key, consumer, want, step)

    def fileno(self) -> int:
        """The socket, to be polled."""
        return self._line.fileno()

    def drop(self) -> None:
        """Close the connection. What its step fetched, if it ran, is found by comparing."""
        self._exchange, self.want, self.ends = None, 0, 0.0
        self._line.drop()

    def close(self) -> None:
        """The end."""
        self._exchange, self.want = None, 0
        self._line.close()


def parkings(
    lines: Lines, consumers: Sequence[Consumer], *, longest: float, reply: float
) -> list[Parking]:
    """Where a worker of these queues waits: at one place, on Cluster at one for each queue."""
    groups = [[consumer] for consumer in consumers] if lines.spread else [list(consumers)]
    return [
        Parking(
            lines.waiting(longest + reply, group[0].keys.wake), group, longest=longest, reply=reply
        )
        for group in groups
    ]
