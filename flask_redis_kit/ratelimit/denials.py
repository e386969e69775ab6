"""Refusals that are known to hold, so that a refused client costs no round trip.

A refusal writes nothing, so "refused for the next x seconds" stays true until units free by time;
only a reset can free them earlier. One in this process is seen at once, one elsewhere after at most
``MAX_SECONDS``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.ratelimit.limits import Demand, RateLimitResult

MAX_SECONDS = 5.0
MAX_ENTRIES = 4096

Question = tuple[tuple[str, int], ...]
"""The log and the limit of each demand: what a refusal was the answer to."""


def question(demands: Sequence[Demand]) -> Question:
    """What is asked by these demands."""
    return tuple((demand.key, demand.limit.limit) for demand in demands)


class Denials:
    """The latest refusals of one process, least recently used ones dropped. Thread-safe.

    ``now`` is the monotonic clock, in seconds.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._known: OrderedDict[Question, tuple[float, float, RateLimitResult]] = OrderedDict()
        self._lock = threading.Lock()
        self.resets = 0
        """How many resets there were: a refusal from before one may not be kept after it."""
        renew_in_child(self)

    def get(self, asked: Question, now: float) -> RateLimitResult | None:
        """The refusal that still holds, with what is left of its times."""
        if asked not in self._known:  # most are admitted: no lock for them
            return None
        with self._lock:
            known = self._known.get(asked)
            if known is None:
                return None
            since, until, result = known
            if now >= until:
                del self._known[asked]
                return None
            self._known.move_to_end(asked)
        passed = now - since
        return replace(
            result,
            retry_after=result.retry_after - passed,
            reset_after=max(0.0, result.reset_after - passed),
        )

    def add(self, asked: Question, result: RateLimitResult, *, since: float, resets: int) -> None:
        """Keep a refusal. ``since`` and ``resets`` are from before the server was asked."""
        until = since + min(result.retry_after, MAX_SECONDS)
        with self._lock:
            if resets != self.resets:
                return
            self._known[asked] = (since, until, result)
            self._known.move_to_end(asked)
            while len(self._known) > self._max_entries:
                self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        """A log was reset: what was refused because of it may hold no longer."""
        with self._lock:
            self.resets += 1
            for asked in [a for a in self._known if any(key == log for log, _ in a)]:
                del self._known[asked]

    def __len__(self) -> int:
        return len(self._known)

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that doesn't exist here."""
        self._lock = threading.Lock()
