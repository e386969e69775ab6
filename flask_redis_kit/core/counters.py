"""Counts of what features do, by a name of the user's and an outcome: ``("product", "hit")``.

Counting is a dictionary entry. From time to time what a process has counted rides along with a trip
that is made anyway, and is added up in Redis, one hash a day, so that a command in another process
can tell. Names are those of prefixes and policies, never keys or users.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from flask_redis_kit.core import signals
from flask_redis_kit.core.exchange import Exchange, pairs
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.keys import KeyBuilder, KeySpec
from flask_redis_kit.core.script import Script
from flask_redis_kit.core.wire import Wire

FEATURE = "core"
TAG = "counts"
KEPT_DAYS = 8
KEYSPACE = (
    KeySpec(
        "frk:{<ns>:counts}:core:counts:<day>",
        "hash",
        f"{KEPT_DAYS} days",
        "what the features counted that day (UTC), by feature, name and outcome",
    ),
)
INTERVAL = 10.0
"""Seconds between two reports of one process."""

_MOST_NAMES = 2000
_LONGEST_NAME = 100
_OTHER = "(other)"
_SEPARATOR = "\x1f"
_PROCESS = "~"

_count = Script("flask_redis_kit.core", "lua/count.lua")
Name = tuple[str, str, str]
Counts = dict[tuple[str, str], int]


class Counters:
    """What the features of one application count on one server. Thread-safe."""

    def __init__(
        self, wire: Wire, keys: KeyBuilder, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._wire = wire
        self._keys = keys
        self._now = now
        self._begin()
        renew_in_child(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._process = _PROCESS + secrets.token_hex(6)
        self._report = 0
        self._counts: dict[Name, int] = {}
        self._names: set[tuple[str, str]] = set()
        self._next = 0.0

    def after_fork(self) -> None:
        """A child starts at zero: its parent reports what it had counted."""
        self._begin()

    def add(self, feature: str, subject: str, outcome: str, amount: int = 1) -> None:
        """Count. Beyond 2,000 names the rest is counted together."""
        try:
            with self._lock:
                self._counts[feature, subject, outcome] += amount
        except KeyError:
            subject = self._add_first(feature, subject, outcome, amount)
        if signals.counted.receivers:
            signals.counted.send(
                self, feature=feature, subject=subject, outcome=outcome, amount=amount
            )

    def _add_first(self, feature: str, subject: str, outcome: str, amount: int) -> str:
        """Count what was not counted since the last report; what it was counted under."""
        if (feature, subject) not in self._names:
            subject = self._admitted(feature, subject)
        name = (feature, subject, outcome)
        with self._lock:
            counts = self._counts
            if not counts:
                self._next = self._next or self._now() + INTERVAL
            counts[name] = counts.get(name, 0) + amount
        return subject

    def add_each(self, feature: str, subjects: Sequence[str], outcome: str) -> None:
        """Count one more of this outcome for each of these names."""
        left: Sequence[str] = subjects
        if not signals.counted.receivers:
            left = []
            with self._lock:
                counts = self._counts
                for subject in subjects:
                    name = (feature, subject, outcome)
                    if name in counts:
                        counts[name] += 1
                    else:
                        left.append(subject)
        for subject in left:  # new since the last report, or somebody listens
            self.add(feature, subject, outcome)

    def _admitted(self, feature: str, subject: str) -> str:
        subject = subject.replace(_SEPARATOR, " ")[:_LONGEST_NAME]
        if len(self._names) >= _MOST_NAMES and (feature, subject) not in self._names:
            return _OTHER
        self._names.add((feature, subject))
        return subject

    def due(self, wire: Wire) -> Exchange[None] | None:
        """The report that is to ride along with a trip of this wire, if it is time for one."""
        if not self._counts or wire is not self._wire or self._now() < self._next:
            return None
        return self.report()

    def report(self) -> Exchange[None] | None:
        """What was counted since the last report; None if nothing was. Not sent by itself."""
        with self._lock:
            counts, self._counts = self._counts, {}
            self._next = self._now() + INTERVAL
            self._report += 1
            number = self._report
        if not counts:
            return None
        key = self._key(datetime.now(UTC))
        fields: list[str | int] = []
        for name, amount in counts.items():
            fields += (_SEPARATOR.join(name), amount)
        call = _count.call([key], [KEPT_DAYS * 86400, self._process, number, *fields])
        return Exchange(FEATURE, key, [call], lambda _: None, idempotent=True, deferrable=True)

    def flush(self) -> None:
        """Report now; one round trip if there is anything. A server's failure loses the counts."""
        report = self.report()
        if report is not None:
            self._wire.send_many([report])

    def read(self, feature: str, days: int = 1) -> Counts:
        """What all processes counted today, or in the last ``days`` (8 at most), by name, outcome.

        One round trip for each day and one for this process's own counts. Raises ``ServerError``.
        """
        self.flush()
        total: Counts = {}
        for day in range(min(days, KEPT_DAYS)):
            key = self._key(datetime.now(UTC) - timedelta(days=day))
            stored = self._wire.send(_reading(key))
            for (of, subject, outcome), amount in stored.items():
                if of == feature:
                    total[subject, outcome] = total.get((subject, outcome), 0) + amount
        return total

    def _key(self, moment: datetime) -> str:
        return self._keys.key(TAG, FEATURE, "counts", f"{moment:%Y-%m-%d}")


def _reading(key: str) -> Exchange[Mapping[Name, int]]:
    def parse(replies: list[object]) -> dict[Name, int]:
        found: dict[Name, int] = {}
        for field, amount in pairs(replies[0]).items():
            parts = field.decode("utf-8", "replace").split(_SEPARATOR)
            if len(parts) == 3:  # the others are the processes' own
                found[parts[0], parts[1], parts[2]] = int(amount)
        return found

    return Exchange(FEATURE, key, [("HGETALL", key)], parse, read_only=True)


class Add(Protocol):
    """``FeatureCounters.add``."""

    def __call__(self, subject: str, outcome: str, amount: int = 1) -> None: ...


class AddEach(Protocol):
    """``FeatureCounters.add_each``."""

    def __call__(self, subjects: Sequence[str], outcome: str) -> None: ...


class FeatureCounters:
    """The counters of one feature in one application: ``context.counters``."""

    __slots__ = ("_counters", "_feature", "add", "add_each")

    def __init__(self, counters: Counters, feature: str) -> None:
        self._counters = counters
        self._feature = feature
        self.add: Add = partial(counters.add, feature)
        """Count ``amount`` more of this outcome. No I/O, well below a microsecond."""
        self.add_each: AddEach = partial(counters.add_each, feature)
        """Count one more of this outcome for each of several names."""

    def read(self, days: int = 1) -> Counts:
        """``{(subject, outcome): count}`` of all processes; see ``Counters.read``."""
        return self._counters.read(self._feature, days)

    def due(self, wire: Wire) -> Exchange[None] | None:
        """See ``Counters.due``: for the context, which sends it along."""
        return self._counters.due(wire)
