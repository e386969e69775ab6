"""``python -m tests.cache.race <settings as JSON>``: readers or writers of a race.

What is cached are numbers that writers count up. A read is stale if it saw less than the number
whose invalidation had returned before the read began.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Protocol

from flask import Flask

from flask_redis_kit import RedisKit
from tests.harness.topologies import client_of

ITEMS = 3


@dataclass(frozen=True)
class Settings:
    """One process of a race; ``slowest`` is how long a computation may take, in seconds."""

    url: str
    algorithm: str
    role: str
    threads: int
    count: int
    slowest: float = 0.004
    config: dict[str, object] = field(default_factory=dict)


class Algorithm(Protocol):
    """A cache under test."""

    def read(self, item: int) -> int: ...

    def invalidate(self, item: int) -> None: ...


class Ours:
    """The cache of the kit: a decorated function and a value by hand, in turn."""

    def __init__(self, settings: Settings, compute: Callable[[int], int]) -> None:
        self._app = app = Flask("race")  # kept: a kit holds its applications weakly
        app.config.update(REDIS_URL=settings.url, **settings.config)
        kit = RedisKit(app, features=("cache",))
        self._cache = kit.cache
        self._compute = compute

        @kit.cache.cache_result(key_prefix="race", tags=["item:{item}", "all"])
        def number(item: int) -> int:
            return compute(item)

        self._number = number

    def read(self, item: int) -> int:
        if random.random() < 0.7:
            return self._number(item)
        value = self._cache.get(f"item {item}")
        if value is None:
            value = self._compute(item)
            self._cache.set(f"item {item}", value, tags=[f"item:{item}"])
        return int(value)

    def invalidate(self, item: int) -> None:
        noise = [f"noise:{random.randrange(1000)}" for _ in range(random.randrange(3))]
        self._cache.invalidate_tags(f"item:{item}", *noise)


class SetOfKeys:
    """The naive way: a set of the keys of each tag, deleted with its members."""

    def __init__(self, settings: Settings, compute: Callable[[int], int]) -> None:
        self._client = client_of(settings.url)
        self._compute = compute

    def read(self, item: int) -> int:
        stored = self._client.get(f"naive:{item}")
        if stored is not None:
            return int(stored)
        value = self._compute(item)
        pipeline = self._client.pipeline()
        pipeline.set(f"naive:{item}", value, ex=300)
        pipeline.sadd(f"naive:tag:{item}", f"naive:{item}")
        pipeline.execute()
        return value

    def invalidate(self, item: int) -> None:
        keys = self._client.smembers(f"naive:tag:{item}")
        self._client.delete(f"naive:tag:{item}", *keys)


ALGORITHMS: dict[str, Callable[[Settings, Callable[[int], int]], Algorithm]] = {
    "ours": Ours,
    "set of keys": SetOfKeys,
}


@dataclass
class Figures:
    """What one process saw."""

    reads: int = 0
    computed: int = 0
    stale: int = 0
    invalidations: int = 0


class Racer:
    """One process: its threads share the algorithm and the source of truth."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._truth = client_of(settings.url, decode_responses=True)
        self._algorithm = ALGORITHMS[settings.algorithm](settings, self._compute)
        self._computed: list[int] = []

    def run(self) -> Figures:
        """Start at the signal; readers end with the last writer, writers after ``count``."""
        while self._truth.get("race:go") is None:
            time.sleep(0.002)
        role = self._read if self._settings.role == "reader" else self._write
        with ThreadPoolExecutor(self._settings.threads) as pool:
            parts = list(pool.map(role, range(self._settings.threads)))
        total = Figures(computed=len(self._computed))
        for part in parts:
            total.reads += part.reads
            total.stale += part.stale
            total.invalidations += part.invalidations
        return total

    def _compute(self, item: int) -> int:
        number = int(self._truth.get(f"race:number:{item}") or 0)
        self._computed.append(item)
        time.sleep(random.uniform(0, self._settings.slowest))  # the cost of a computation
        return number

    def _read(self, _: int) -> Figures:
        figures = Figures()
        while self._truth.get("race:over") is None:
            item = random.randrange(ITEMS)
            acked = self._truth.hvals(f"race:acked:{item}")
            least = max((int(number) for number in acked), default=0)
            figures.stale += self._algorithm.read(item) < least
            figures.reads += 1
        return figures

    def _write(self, writer: int) -> Figures:
        figures = Figures()
        for _ in range(self._settings.count):
            item = random.randrange(ITEMS)
            number = self._truth.incr(f"race:number:{item}")
            self._algorithm.invalidate(item)
            self._truth.hset(f"race:acked:{item}", str(writer), str(number))
            figures.invalidations += 1
            time.sleep(random.uniform(0, 0.006))  # so that values live long enough to be hit
        return figures


if __name__ == "__main__":
    print(json.dumps(asdict(Racer(Settings(**json.loads(sys.argv[1]))).run())))
