"""The caches that ``benchmarks.cache`` measures, each behind the same few calls.

Every one runs with its defaults on the same server. Where a defence against stampedes has to be
switched on, it is (cashews' ``lock``, dogpile.cache's ``distributed_lock``).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from typing import Any, Protocol

import redis
from cashews import Cache as Cashews
from dogpile.cache import make_region
from flask import Flask
from flask_caching import Cache as FlaskCaching

from flask_redis_kit import RedisKit

Run = Callable[[int], object]
"""Makes so many calls, one after the other."""
TTL = 3600
COMPUTATION = 0.2
"""Seconds that the computation of a stampede takes."""
_BATCH = 1000


@cache
def text(size: int) -> str:
    """A value of so many bytes: HTML, as a list of products looks, which zlib makes a sixth."""
    draw = random.Random(7)
    words = ["".join(draw.choices("etaoinshrdlucmfwypvbgk", k=6)) for _ in range(2000)]
    lines = (
        f'<li class="product"><a href="/products/{n}">{draw.choice(words)} {draw.choice(words)}</a>'
        f'<span class="price">{draw.randrange(9999) / 100} EUR</span></li>\n'
        for n in range(1 + size // 60)
    )
    return "".join(lines)[:size]


def numbers() -> Iterator[int]:
    """Arguments that nobody has called with before."""
    return itertools.count(random.randrange(10**9, 10**12))


class Contender(Protocol):
    """A cache to be measured."""

    name: str

    def hits(self, size: int, values: int = 1) -> Run:
        """Calls of a cached function, whose results are there: so many, in turn."""

    def misses(self, size: int) -> Run:
        """Calls of a cached function, whose result is computed (at no cost) and stored."""

    def fill(self, entries: int, tag: str | None) -> None:
        """Store values of 200 bytes, all with one tag."""

    def invalidate(self, tag: str) -> None:
        """Invalidate all that has this tag."""

    def stampede(self, callers: int, compute: Callable[[], object]) -> list[float]:
        """Call one cold function all at once; how long each call took."""

    def close(self) -> None:
        """Close its connections."""


def _one_by_one(call: Callable[[], object], app: Flask | None = None) -> Run:
    """In the context of an application, as functions beneath a view are called."""

    def run(count: int) -> None:
        with nullcontext() if app is None else app.app_context():
            for _ in range(count):
                call()

    return run


def _in_threads(callers: int, call: Callable[[], object]) -> list[float]:
    def timed(_: int) -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(timed, range(callers)))


class Kit:
    """flask_redis_kit."""

    name = "kit"

    def __init__(self, url: str) -> None:
        self.app = app = Flask("kit")
        app.config.update(REDIS_URL=url, REDIS_NAMESPACE="kit", REDIS_MAX_CONNECTIONS=60)
        self.kit = RedisKit(app, features=("cache",))
        self._next = numbers()

        @self.kit.cache.cache_result(ttl=TTL)
        def value(n: int, size: int) -> str:
            return text(size + 0 * n)

        self._value = value

    def hits(self, size: int, values: int = 1) -> Run:
        turns = itertools.cycle(range(values))
        return _one_by_one(lambda: self._value(next(turns), size), self.app)

    def misses(self, size: int) -> Run:
        return _one_by_one(lambda: self._value(next(self._next), size), self.app)

    def fill(self, entries: int, tag: str | None) -> None:
        tags = [] if tag is None else [tag]
        for start in range(0, entries, _BATCH):
            batch = range(start, min(start + _BATCH, entries))
            with self.app.app_context():
                self.kit.cache.set_many({f"{tag}:{n}": text(200) for n in batch}, TTL, tags)

    def invalidate(self, tag: str) -> None:
        with self.app.app_context():
            self.kit.cache.invalidate_tags(tag)

    def stampede(self, callers: int, compute: Callable[[], object]) -> list[float]:
        return _in_threads(callers, self.kit.cache.cache_result("cold", ttl=TTL)(compute))

    def close(self) -> None:
        with self.app.app_context():
            self.kit.close()


class Peer:
    """Flask-Caching's RedisCache. It has no tags."""

    name = "Flask-Caching"

    def __init__(self, url: str) -> None:
        self.app = Flask("peer")
        self.app.config.update(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=url)
        self.cache = FlaskCaching(self.app)
        self._next = numbers()

        @self.cache.memoize(timeout=TTL)
        def value(n: int, size: int) -> str:
            return text(size + 0 * n)

        self._value = value

    def hits(self, size: int, values: int = 1) -> Run:
        turns = itertools.cycle(range(values))
        return _one_by_one(lambda: self._value(next(turns), size), self.app)

    def misses(self, size: int) -> Run:
        return _one_by_one(lambda: self._value(next(self._next), size), self.app)

    def fill(self, entries: int, tag: str | None) -> None:
        with self.app.app_context():
            for start in range(0, entries, _BATCH):
                batch = range(start, min(start + _BATCH, entries))
                self.cache.set_many({f"{tag}:{n}": text(200) for n in batch}, timeout=TTL)

    def invalidate(self, tag: str) -> None:
        raise NotImplementedError

    def stampede(self, callers: int, compute: Callable[[], object]) -> list[float]:
        @self.cache.memoize(timeout=TTL)
        def cold() -> object:
            return compute()

        def call() -> object:
            with self.app.app_context():
                return cold()

        return _in_threads(callers, call)

    def close(self) -> None:
        """Its connections end with the process."""


class Dogpile:
    """dogpile.cache's Redis backend. It has no tags, and invalidates only within one process."""

    name = "dogpile.cache"

    def __init__(self, url: str) -> None:
        arguments: dict[str, Any] = {"url": url, "distributed_lock": True}
        arguments["thread_local_lock"] = False  # it may be released in another thread
        self.region = make_region()
        self.region.configure("dogpile.cache.redis", expiration_time=TTL, arguments=arguments)
        self._next = numbers()

        @self.region.cache_on_arguments()
        def value(n: int, size: int) -> str:
            return text(size + 0 * n)

        self._value = value

    def hits(self, size: int, values: int = 1) -> Run:
        turns = itertools.cycle(range(values))
        return _one_by_one(lambda: self._value(next(turns), size))

    def misses(self, size: int) -> Run:
        return _one_by_one(lambda: self._value(next(self._next), size))

    def fill(self, entries: int, tag: str | None) -> None:
        for start in range(0, entries, _BATCH):
            batch = range(start, min(start + _BATCH, entries))
            self.region.set_multi({f"{tag}:{n}": text(200) for n in batch})

    def invalidate(self, tag: str) -> None:
        raise NotImplementedError

    def stampede(self, callers: int, compute: Callable[[], object]) -> list[float]:
        return _in_threads(callers, lambda: self.region.get_or_create("cold", compute))

    def close(self) -> None:
        """Its connections end with the process."""


class Asynchronous:
    """cashews, on an event loop of its own; the loop runs through all calls of a measurement."""

    name = "cashews"

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.cache = Cashews()
        self.cache.setup(url)
        self._next = numbers()

        @self.cache(ttl=TTL)
        async def value(n: int, size: int) -> str:
            return text(size + 0 * n)

        self._value = value

    def hits(self, size: int, values: int = 1) -> Run:
        turns = itertools.cycle(range(values))

        async def calls(count: int) -> None:
            for _ in range(count):
                await self._value(next(turns), size)

        return lambda count: self._runner.run(calls(count))

    def misses(self, size: int) -> Run:
        async def calls(count: int) -> None:
            for _ in range(count):
                await self._value(next(self._next), size)

        return lambda count: self._runner.run(calls(count))

    def fill(self, entries: int, tag: str | None) -> None:
        tags = () if tag is None else (tag,)

        async def batch(numbers: range) -> None:
            key = f"{tag}:{{}}".format
            await asyncio.gather(
                *(self.cache.set(key(n), text(200), expire=TTL, tags=tags) for n in numbers)
            )

        if tag is not None:
            self.cache.register_tag(tag, f"{tag}:{{n}}")
        for start in range(0, entries, _BATCH // 10):
            self._runner.run(batch(range(start, min(start + _BATCH // 10, entries))))

    def invalidate(self, tag: str) -> None:
        self._runner.run(self.cache.delete_tags(tag))

    def stampede(self, callers: int, compute: Callable[[], object]) -> list[float]:
        @self.cache(ttl=TTL, key="cold", lock=True)
        async def cold() -> object:
            await asyncio.sleep(COMPUTATION)
            return compute()

        async def timed() -> float:
            started = time.perf_counter()
            await cold()
            return time.perf_counter() - started

        async def all_at_once() -> list[float]:
            return await asyncio.gather(*(timed() for _ in range(callers)))

        return self._runner.run(all_at_once())

    def close(self) -> None:
        self._runner.run(self.cache.close())
        self._runner.close()


class Raw:
    """redis-py alone: a GET, what nobody can go below."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def hits(self, size: int) -> Run:
        """GETs of a value."""
        self._client.set(f"raw:{size}", text(size))
        return _one_by_one(lambda: self._client.get(f"raw:{size}"))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


CONTENDERS: dict[str, Callable[[str], Contender]] = {
    Kit.name: Kit,
    Peer.name: Peer,
    Asynchronous.name: Asynchronous,
    Dogpile.name: Dogpile,
}
