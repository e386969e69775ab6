"""One process of a race: readers and writers over a cache, judged against the truth.

What is cached are the numbers that each writer counts up for each item. A read is stale if it saw
less of any writer than that one's number whose invalidation had returned before the read began.
The truth lies in a file that all processes map into their memory: asking it costs no round trip.
"""

from __future__ import annotations

import fcntl
import mmap
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

ITEMS = 3
WRITERS = 2
_FLAGS, _COUNTS = 4, 64
_NUMBERS = _FLAGS + _COUNTS
_ACKED = _NUMBERS + ITEMS * WRITERS
_SIZE = _ACKED + ITEMS * WRITERS
_START, _OVER, _GENERATION, _ACKS = range(_FLAGS)

Numbers = list[int]
"""One number for each writer."""


class Truth:
    """The numbers, and which of them were invalidated and acknowledged. Shared by processes."""

    def __init__(self, path: str) -> None:
        self._path = path
        with Path(path).open("a+b") as file:
            if file.tell() == 0:
                file.write(bytes(8 * _SIZE))
                file.flush()
            self._map = mmap.mmap(file.fileno(), 8 * _SIZE)
        self._cells = memoryview(self._map).cast("q")

    def close(self) -> None:
        """Let go of the file."""
        self._cells.release()
        self._map.close()

    # what the race is about

    def numbers(self, item: int) -> Numbers:
        """The present value of an item."""
        return self._row(_NUMBERS, item)

    def acked(self, item: int) -> Numbers:
        """What every read that begins now must at least see."""
        return self._row(_ACKED, item)

    def change(self, item: int, writer: int) -> int:
        """A new number; it is acknowledged later."""
        at = _NUMBERS + item * WRITERS + writer
        self._cells[at] += 1
        return self._cells[at]

    def acknowledge(self, item: int, writer: int, number: int) -> None:
        """The invalidation after this change has returned."""
        self._cells[_ACKED + item * WRITERS + writer] = number

    def _row(self, start: int, item: int) -> Numbers:
        at = start + item * WRITERS
        return list(self._cells[at : at + WRITERS])

    # a failover that loses writes: what was acknowledged since the snapshot doesn't count any more

    @property
    def generation(self) -> int:
        """Odd while the server is set back; a read that saw it change proves nothing."""
        return self._cells[_GENERATION]

    @contextmanager
    def set_back(self, acked: Numbers) -> Iterator[None]:
        """While the server is set back to the moment of ``all_acked()``."""
        self._cells[_GENERATION] += 1
        for at, number in enumerate(acked, _ACKED):
            self._cells[at] = number
        yield
        self._cells[_GENERATION] += 1

    def all_acked(self) -> Numbers:
        """The acknowledged numbers of all items."""
        return list(self._cells[_ACKED:_SIZE])

    @contextmanager
    def lock(self, *, alone: bool) -> Iterator[None]:
        """Writers hold it together, who sets the server back holds it alone."""
        with Path(self._path).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    # its course

    def start(self) -> None:
        """The signal that all wait for."""
        self._cells[_START] = 1

    @property
    def started(self) -> bool:
        """Whether it was given."""
        return bool(self._cells[_START])

    def end(self) -> None:
        """Everybody stops."""
        self._cells[_OVER] = 1

    @property
    def over(self) -> bool:
        """Whether all should stop."""
        return bool(self._cells[_OVER])

    def count(self, thread: int, done: int) -> None:
        """A thread tells how far it is; readers and writers have numbers of their own."""
        self._cells[_FLAGS + thread] = done

    def counted(self, first: int, threads: int) -> int:
        """How far these threads are together."""
        return sum(self._cells[_FLAGS + first : _FLAGS + first + threads])


@dataclass(frozen=True)
class Settings:
    """One process of a race. Times are seconds.

    ``first``      the number of its first thread among all; writers begin with 0.
    ``ways``       how the contender reads, ``invalidators`` how it invalidates: drawn at random.
    ``slowest``    how long a computation may take, ``pause`` how long a writer may rest.
    ``mutations``  defects to build into the kit first, by their names in ``mutations.py``.
    """

    url: str
    truth: str
    contender: str
    role: str
    first: int
    threads: int
    seed: int
    ways: tuple[str, ...] = ("function",)
    invalidators: tuple[str, ...] = ("tags",)
    slowest: float = 0.004
    pause: float = 0.006
    config: dict[str, object] = field(default_factory=dict)
    mutations: tuple[str, ...] = ()


class Contender(Protocol):
    """A cache under test."""

    def read(self, way: str, item: int) -> Numbers: ...

    def invalidate(self, how: str, item: int) -> bool:
        """False if it could not be done for sure: then it is not acknowledged."""


@dataclass
class Figures:
    """What one process saw. ``hits`` are reads that computed nothing."""

    reads: int = 0
    hits: int = 0
    computed: int = 0
    stale: int = 0
    invalidations: int = 0
    refused: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Count another process in."""
        self.reads += other.reads
        self.hits += other.hits
        self.computed += other.computed
        self.stale += other.stale
        self.invalidations += other.invalidations
        self.refused += other.refused
        self.examples = (self.examples + other.examples)[:5]


class Racer:
    """The threads of one process; they share the contender."""

    def __init__(
        self,
        settings: Settings,
        contender: Callable[[Settings, Callable[[int], Numbers]], Contender],
    ) -> None:
        self._settings = settings
        self._truth = Truth(settings.truth)
        self._computed: list[int] = []
        self._own = threading.local()
        self._contender = contender(settings, self._compute)

    def run(self) -> Figures:
        """From the signal until the end."""
        while not self._truth.started:
            time.sleep(0.001)
        role = self._read if self._settings.role == "reader" else self._write
        first, threads = self._settings.first, self._settings.threads
        total = Figures()
        with ThreadPoolExecutor(threads) as pool:
            for part in pool.map(role, range(first, first + threads)):
                total.add(part)
        total.computed = len(self._computed)
        return total

    def _compute(self, item: int) -> Numbers:
        numbers = self._truth.numbers(item)
        self._own.computed = True
        self._computed.append(item)
        time.sleep(random.uniform(0, self._settings.slowest))  # the cost of a computation
        return numbers

    def _read(self, thread: int) -> Figures:
        truth, figures = self._truth, Figures()
        draw = random.Random(self._settings.seed + thread)
        while not truth.over:
            item, way = draw.randrange(ITEMS), draw.choice(self._settings.ways)
            generation, least = truth.generation, truth.acked(item)
            self._own.computed = False
            seen = self._contender.read(way, item)
            if generation % 2 or generation != truth.generation:
                continue
            figures.reads += 1
            figures.hits += not self._own.computed
            if any(saw < must for saw, must in zip(seen, least, strict=True)):
                figures.stale += 1
                figures.examples.append(f"{way} {item}: {seen} where {least} was acknowledged")
            truth.count(thread, figures.reads)
        return figures

    def _write(self, writer: int) -> Figures:
        truth, figures = self._truth, Figures()
        draw = random.Random(self._settings.seed + writer)
        while not truth.over:
            item, how = draw.randrange(ITEMS), draw.choice(self._settings.invalidators)
            with truth.lock(alone=False):
                number = truth.change(item, writer)
                if self._contender.invalidate(how, item):
                    truth.acknowledge(item, writer, number)
                    figures.invalidations += 1
                else:
                    figures.refused += 1
            truth.count(writer, figures.invalidations)
            time.sleep(draw.uniform(0, self._settings.pause))  # so that values live to be hit
        return figures
