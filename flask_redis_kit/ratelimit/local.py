"""Counting in this process's memory, for a server that is away (``on_error="local"``).

The limit is divided by the number of processes. What was counted at the server before the outage is
not known here, nor the other way round.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.ratelimit.limits import Claim
from flask_redis_kit.ratelimit.scripts import Standing

MAX_KEYS = 10_000
EXACT = 128
PARTS = 64


@dataclass(slots=True)
class _Entry:
    """Units admitted from ``since`` on, counted until ``ends``; seconds on the monotonic clock."""

    since: float
    ends: float
    units: int
    token: str


@dataclass(slots=True)
class _Log:
    entries: deque[_Entry] = field(default_factory=deque)
    used: int = 0

    def expire(self, now: float) -> None:
        while self.entries and self.entries[0].ends <= now:
            self.used -= self.entries.popleft().units

    def retry(self, over: int, now: float) -> float:
        """Seconds until ``over`` units have freed."""
        wait = 0.0
        for entry in self.entries:
            if over <= 0:
                break
            wait = entry.ends - now
            over -= entry.units
        return wait

    def add(self, claim: Claim, token: str, now: float) -> None:
        ends = now + claim.limit.window
        self.used += claim.cost
        apart = len(self.entries) < EXACT or claim.limit.kind == "concurrency"
        last = None if apart else self.entries[-1]
        if last is not None and now - last.since < claim.limit.window / PARTS:
            last.ends, last.units, last.token = ends, last.units + claim.cost, ""
        else:
            self.entries.append(_Entry(now, ends, claim.cost, token))

    def take(self, token: str) -> _Entry | None:
        """Remove what was admitted under this name, if it is still told apart."""
        for entry in self.entries:
            if entry.token == token:
                self.entries.remove(entry)
                self.used -= entry.units
                return entry
        return None


class LocalLimits:
    """The logs of one process, least recently used ones dropped. Thread-safe.

    A log keeps 128 admissions exactly; further ones share entries of 1/64 of the window, which free
    together: never too many, freed a little late. ``now``: the monotonic clock, in seconds.
    """

    def __init__(self, workers: int, max_keys: int = MAX_KEYS) -> None:
        self._workers = workers
        self._max_keys = max_keys
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._lock = threading.Lock()
        renew_in_child(self)

    def share(self, claim: Claim) -> int:
        """This process's part of the limit: at least what one such request costs."""
        return max(claim.limit.limit // self._workers, claim.cost, 1)

    def acquire(
        self, claims: Sequence[Claim], token: str, now: float
    ) -> tuple[bool, list[Standing]]:
        """Count under all these limits or under none; ``token`` "": look only."""
        with self._lock:
            logs = [self._log(claim.key) for claim in claims]
            waits = []
            for claim, log in zip(claims, logs, strict=True):
                log.expire(now)
                over = log.used + max(claim.cost, 1) - self.share(claim)
                waits.append(log.retry(over, now) if over > 0 else 0.0)
            admitted = not any(
                wait and claim.cost for claim, wait in zip(claims, waits, strict=True)
            )
            if admitted and token:
                for claim, log in zip(claims, logs, strict=True):
                    if claim.cost:
                        log.add(claim, token, now)
            standings = [
                self._standing(claim, log, wait, now)
                for claim, log, wait in zip(claims, logs, waits, strict=True)
            ]
            for claim, log in zip(claims, logs, strict=True):
                if not log.entries:
                    self._logs.pop(claim.key, None)
            return admitted, standings

    def hand_back(self, claims: Sequence[Claim], token: str) -> None:
        """Remove what these claims of an admission hold; nothing if it is not told apart."""
        with self._lock:
            for claim in claims:
                log = self._logs.get(claim.key)
                if log is not None:
                    log.take(token)

    def renew(self, claim: Claim, token: str, now: float) -> bool:
        """Make a lease last a whole lease from now; False if it had ended."""
        with self._lock:
            log = self._logs.get(claim.key)
            if log is None:
                return False
            log.expire(now)
            if log.take(token) is None:
                return False
            log.add(claim, token, now)
            return True

    def forget(self, key: str) -> None:
        """Forget what was counted under a key."""
        with self._lock:
            self._logs.pop(key, None)

    def __len__(self) -> int:
        return len(self._logs)

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that doesn't exist here."""
        self._lock = threading.Lock()

    def _log(self, key: str) -> _Log:
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = _Log()
            while len(self._logs) > self._max_keys:
                self._logs.popitem(last=False)
        self._logs.move_to_end(key)
        return log

    def _standing(self, claim: Claim, log: _Log, wait: float, now: float) -> Standing:
        ends = [log.entries[0].ends, log.entries[-1].ends] if log.entries else [now, now]
        reset, full = (round((end - now) * 1e6) for end in ends)
        remaining = max(0, self.share(claim) - log.used)
        return Standing(remaining, reset, full, max(1, round(wait * 1e6)) if wait else 0, 0)
