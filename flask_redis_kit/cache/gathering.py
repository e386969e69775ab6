"""Those in one process who wait for the same value: one of them asks the server, for all.

The leader looks again and again; when he has found the value he announces the look, and wakes the
others. A look is only for those who had joined before it began: so what it found was valid during
the call of everyone who takes it.
"""

from __future__ import annotations

import threading
import time

from flask_redis_kit.cache.bell import Bell
from flask_redis_kit.cache.reading import Look
from flask_redis_kit.core.fork import renew_in_child

SILENCE = 0.1
"""Seconds without a sign of the leader after which another one leads: it may be stuck."""


class Waiter:
    """One who waits."""

    __slots__ = ("bell", "since")

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.bell = Bell()
        """Rings for the leader when the value was stored, or given up, in this process."""


class Gathering:
    """Who waits for one value. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: set[Waiter] = set()
        self._leader: Waiter | None = None
        self._sign = 0.0
        self._announced: tuple[float, Look] | None = None
        self.bell = Bell()

    def join(self) -> Waiter:
        """Begin to wait."""
        waiter = Waiter()
        with self._lock:
            self._waiters.add(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> bool:
        """End to wait; another one leads. True if nobody waits any more."""
        with self._lock:
            self._waiters.discard(waiter)
            if self._leader is waiter:
                self._leader = None
                self._ring()
            return not self._waiters

    def leads(self, waiter: Waiter) -> bool:
        """Whether this one leads: the first who asks, or who asks when the leader is silent."""
        now = time.monotonic()
        with self._lock:
            if self._leader is not waiter and now - self._sign < SILENCE and self._leader:
                return False
            self._leader = waiter
            self._sign = now
            if waiter.bell.rang:
                waiter.bell = Bell()
            return True

    def announce(self, began: float, look: Look) -> None:
        """The leader has found the value in a look that began at ``began``."""
        with self._lock:
            self._announced = began, look
            self._ring()

    def announced_to(self, waiter: Waiter) -> Look | None:
        """What was announced, if its look began after this one had joined."""
        announced = self._announced
        if announced is None or announced[0] < waiter.since:
            return None
        return announced[1]

    def nudge(self) -> None:
        """The computation has ended in this process: the leader had better look now."""
        leader = self._leader
        if leader is not None:
            leader.bell.ring()

    def _ring(self) -> None:
        bell, self.bell = self.bell, Bell()
        bell.ring()


class Gatherings:
    """The gatherings of one application, by the value that is waited for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, Gathering] = {}
        renew_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: who waited in the parent does not wait here."""
        self._lock = threading.Lock()
        self._all = {}

    def holds(self, name: str) -> bool:
        """Whether somebody waits for this value, so that another one has its lease."""
        return name in self._all

    def join(self, name: str) -> tuple[Gathering, Waiter]:
        """Begin to wait for a value."""
        with self._lock:
            gathering = self._all.setdefault(name, Gathering())
            return gathering, gathering.join()

    def leave(self, name: str, gathering: Gathering, waiter: Waiter) -> None:
        """End to wait."""
        with self._lock:
            if gathering.leave(waiter) and self._all.get(name) is gathering:
                del self._all[name]

    def nudge(self, name: str) -> None:
        """A computation of this value has ended in this process."""
        gathering = self._all.get(name) if self._all else None
        if gathering is not None:
            gathering.nudge()
