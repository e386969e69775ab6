"""Refusals that are known to hold, so that a refused client costs no round trip.

A refusal writes nothing, so "refused for the next x seconds" stays true until units free by time;
only a reset, or units handed back, can free them earlier. Limits whose units may be handed back are
not remembered. A reset in this process is seen at once, one elsewhere (or a log that is shared with
such a limit elsewhere) after at most ``MAX_SECONDS``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import cast

from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.petition import Question

MAX_SECONDS = 5.0
SPREAD_SECONDS = 0.5
MAX_ENTRIES = 4096


def _keys(asked: Question) -> tuple[str, ...]:
    return cast("tuple[str, ...]", asked[::4])


def hold_seconds(decision: Decision, *, spread: bool) -> float:
    """How long a refusal holds for certain: while the limits that refused stay full by themselves.

    Units that may be handed back, and leases, free at any time. ``spread``: over several slots,
    where a refusal may be due to units that are being handed back.
    """
    waits = [
        result.retry_after
        for claim, result in zip(decision.claims, decision.results, strict=True)
        if not (result.allowed or result.shadow or claim.limit.refundable) and result.kind == "rate"
    ]
    return min(max(waits, default=0.0), SPREAD_SECONDS if spread else MAX_SECONDS)


class Denials:
    """The latest refusals of one process, least recently used ones dropped. Thread-safe.

    ``now`` is the monotonic clock, in seconds.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._known: OrderedDict[Question, tuple[float, float, Decision]] = OrderedDict()
        self._by_key: dict[str, set[Question]] = {}
        self._lock = threading.Lock()
        self.resets = 0
        """How many resets there were: a refusal from before one may not be kept after it."""
        renew_in_child(self)

    def get(self, asked: Question, now: float) -> Decision | None:
        """The refusal that still holds, with what is left of its times."""
        if asked not in self._known:  # most are admitted: no lock for them
            return None
        with self._lock:
            known = self._known.get(asked)
            if known is None:
                return None
            heard, until, decision = known
            if now >= until:
                self._drop(asked)
                return None
            self._known.move_to_end(asked)
        return decision.later(now - heard)

    def add(
        self,
        asked: Question,
        decision: Decision,
        seconds: float,
        *,
        since: float,
        heard: float,
        resets: int,
    ) -> None:
        """Keep a refusal that holds for ``seconds``.

        ``since`` and ``resets`` are from before the server was asked, ``heard`` from after it: it
        is kept no longer than it holds for certain, and never tells too short a wait.
        """
        if seconds <= 0:
            return
        with self._lock:
            if resets != self.resets:
                return
            self._known[asked] = (heard, since + seconds, decision)
            self._known.move_to_end(asked)
            for key in _keys(asked):
                self._by_key.setdefault(key, set()).add(asked)
            while len(self._known) > self._max_entries:
                self._drop(next(iter(self._known)))

    def forget(self, key: str) -> None:
        """A log was reset: what was refused because of it may hold no longer."""
        with self._lock:
            self.resets += 1
            for asked in tuple(self._by_key.get(key, ())):
                self._drop(asked)

    def _drop(self, asked: Question) -> None:
        del self._known[asked]
        for key in _keys(asked):
            asking = self._by_key[key]
            asking.discard(asked)
            if not asking:
                del self._by_key[key]

    def __len__(self) -> int:
        return len(self._known)

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that doesn't exist here."""
        self._lock = threading.Lock()
