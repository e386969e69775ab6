"""How a worker waits for jobs.

Blocking has to be crash-safe over several lists, so jobs are only moved by scripts and a worker
blocks on a token: it sends ``BLPOP wake`` and its next step in one go, and the server runs the
step the moment it is woken. A push to wake is all it takes, and no job is ever in between.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from redis.exceptions import NoScriptError, ResponseError

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.queue.consumer import Consumer
from flask_redis_kit.queue.line import Line
from flask_redis_kit.queue.scripts import Step


class Woken(NamedTuple):
    """The end of a park. ``key``: whose token was taken; None: the time was over."""

    key: str | None
    consumer: Consumer
    want: int
    step: Step


class Parking:
    """``BLPOP`` on the wake tokens of all queues with one queue's step behind it.

    ``want``  how many jobs that step asks for: as many threads are spoken for.
    ``ends``  when the reply is overdue (monotonic).
    """

    def __init__(self, line: Line, *, longest: float, reply: float) -> None:
        self._line = line
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

    def enter(self, consumers: Sequence[Consumer], consumer: Consumer, want: int) -> None:
        """Block until there is a token, a delayed job is due, or the time is over."""
        now = time.monotonic()
        seconds = min(self._longest, consumer.beat)
        for each in consumers:
            if each.due_at is not None:
                seconds = min(seconds, each.due_at - now)
        seconds = max(seconds, 0.001)
        exchange = consumer.step(want)
        blpop = ("BLPOP", *(each.keys.wake for each in consumers), f"{seconds:.3f}")
        self._line.send([blpop, *exchange.commands])
        self._exchange, self._consumer, self.want = exchange, consumer, want
        self.ends = now + seconds + self._reply
        consumer.beat_at = now + seconds + consumer.beat

    def leave(self, quick: Line) -> Woken:
        """Read the replies (they are there, or about to be)."""
        exchange, consumer, want = self._exchange, self._consumer, self.want
        assert exchange is not None  # noqa: S101  # callers look at `occupied` first
        assert consumer is not None  # noqa: S101
        self._exchange, self.want = None, 0
        popped, *replies = self._line.read(1 + len(exchange.commands))
        if isinstance(popped, ResponseError):
            raise popped
        key = None if popped is None else popped[0].decode()
        if any(isinstance(reply, NoScriptError) for reply in replies):
            step = quick.ask([exchange])[0]  # the token is gone: step at once
        else:
            step = exchange.outcome(replies).result()
        return Woken(key, consumer, want, step)

    def fileno(self) -> int:
        """The socket, to be polled."""
        return self._line.fileno()

    def drop(self) -> None:
        """Close the connection. What its step fetched, if it ran, is found by comparing."""
        self._exchange, self.want = None, 0
        self._line.drop()

    def close(self) -> None:
        """The end."""
        self._exchange, self.want = None, 0
        self._line.close()
