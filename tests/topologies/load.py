"""A steady load of writes from several threads, each remembered, and what came of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import redis

from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.wire import Wire
from tests.waiting import wait_until

PAUSE = 0.005
"""Seconds between two writes of one thread."""

Write = Callable[[str, str], object]
"""Writes one value to one list; raises if it may not have been written."""


@dataclass
class _Writer:
    """What one thread did; ``times`` are of acknowledged writes."""

    key: str
    acknowledged: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    longest: float = 0.0
    marked: int = 0


class Load:
    """Each of ``threads`` threads appends numbers to a list of its own, until the block ends."""

    def __init__(self, write: Write, *, threads: int = 8, name: str = "load") -> None:
        self._write = write
        self._stop = threading.Event()
        self.writers = [_Writer(f"{name}:{n}") for n in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(writer,), daemon=True)
            for writer in self.writers
        ]

    def _run(self, writer: _Writer) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            started = time.monotonic()
            try:
                self._write(writer.key, str(number))
            except FAILURES as error:
                writer.errors[type(error).__name__] += 1
                writer.reasons.append(f"{writer.key}: {error!r} of {error.__cause__!r}")
            else:
                writer.acknowledged.append(str(number))
                writer.times.append(time.monotonic())
            writer.longest = max(writer.longest, time.monotonic() - started)
            self._stop.wait(PAUSE)

    # while it runs

    @property
    def written(self) -> int:
        """How many writes were acknowledged so far."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    def wait_for(self, writes: int, what: str = "writes to be acknowledged") -> None:
        """Until every thread has had ``writes`` more writes acknowledged."""
        before = [len(writer.acknowledged) for writer in self.writers]
        wait_until(
            lambda: all(
                len(writer.acknowledged) >= start + writes
                for writer, start in zip(self.writers, before, strict=True)
            ),
            timeout=60,
            what=what,
        )

    def mark(self) -> None:
        """From here on ``lost_since`` counts: the server that was harmed acknowledges no more."""
        for writer in self.writers:
            writer.marked = len(writer.acknowledged)

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # afterwards

    @property
    def errors(self) -> Counter[str]:
        """How often each error was raised."""
        return sum((writer.errors for writer in self.writers), Counter())

    @property
    def longest_gap(self) -> float:
        """The longest time without an acknowledged write of any thread, in seconds."""
        times = sorted(moment for writer in self.writers for moment in writer.times)
        return max(later - sooner for sooner, later in itertools.pairwise(times))

    @property
    def longest_write(self) -> float:
        """The longest time that one write took, acknowledged or not, in seconds."""
        return max(writer.longest for writer in self.writers)

    def fate(self, master: redis.Redis) -> tuple[int, int]:
        """How many acknowledged writes this server doesn't hold, and how many values twice."""
        lost = twice = 0
        for writer in self.writers:
            held = Counter(map(_text, master.lrange(writer.key, 0, -1)))
            lost += len(set(writer.acknowledged) - set(held))
            twice += sum(count - 1 for count in held.values())
        return lost, twice

    def lost_since(self, master: redis.Redis) -> int:
        """How many writes that were acknowledged after ``mark()`` this server doesn't hold."""
        return sum(
            len(
                set(writer.acknowledged[writer.marked :])
                - set(map(_text, master.lrange(writer.key, 0, -1)))
            )
            for writer in self.writers
        )

    def report(self, title: str, master: redis.Redis) -> str:
        """All figures in a line."""
        lost, twice = self.fate(master)
        return (
            f"{title}: {self.written} writes acknowledged, {lost} lost, {twice} twice, "
            f"{sum(self.errors.values())} errors {dict(self.errors)}, longest gap "
            f"{self.longest_gap:.2f} s, longest write {self.longest_write:.2f} s"
            + "".join(f"\n  {reason}" for writer in self.writers for reason in writer.reasons[:3])
        )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def appending(wire: Wire) -> Write:
    """Appends through the wire; must not run twice."""

    def write(key: str, value: str) -> None:
        wire.send(Exchange("test", key, [("RPUSH", key, value)], first))

    return write


def appending_idempotently(wire: Wire) -> Write:
    """The same as an operation that may run twice: the value is appended once."""

    def write(key: str, value: str) -> None:
        commands = [("LREM", key, "0", value), ("RPUSH", key, value)]
        wire.send(Exchange("test", key, commands, lambda replies: replies, idempotent=True))

    return write
