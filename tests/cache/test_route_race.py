"""Nobody is served a page that is older than an invalidation which had returned before he asked."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from flask import Flask

from flask_redis_kit import RedisKit, cache_result

READERS, WRITES = 6, 200


def race(app: Flask, invalidate: Callable[[int], None]) -> tuple[list[str], int]:
    """What was stale, of how many pages, while one thread writes and invalidates."""
    truth = [0, 0]
    announced = [0, 0]  # what was written, and has been invalidated
    written = threading.Event()
    stale: list[str] = []
    served = [0] * READERS

    @app.get("/p/<int:i>")
    @cache_result(ttl=60, tags=["p:{i}"])
    def page(i: int) -> str:
        seen = truth[i]
        time.sleep(random.choice((0, 0.001, 0.005)))  # computing takes its time
        return str(seen)

    def read(reader: int) -> None:
        client = app.test_client()
        while not written.is_set():
            i = random.randrange(2)
            path = f"/p/{i}?a=1{random.choice(('', '&b=2'))}"
            least = announced[i]
            got = int(client.get(path).text)
            served[reader] += 1
            if got < least:
                stale.append(f"{path}: {got} < {least}")

    readers = [threading.Thread(target=read, args=(n,)) for n in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        with app.app_context():
            for _ in range(WRITES):
                i = random.randrange(2)
                truth[i] += 1
                invalidate(i)
                announced[i] = truth[i]
                time.sleep(random.choice((0, 0.003)))  # now and then there are hits
    finally:
        written.set()
        for reader in readers:
            reader.join()
    return stale, sum(served)


@pytest.mark.parametrize("how", ["url", "query", "endpoint", "arguments", "function"])
def test_pages_are_never_stale(kit: RedisKit, app: Flask, how: str) -> None:
    def by_query(i: int) -> None:
        for query in ("?a=1", "?b=2&a=1"):
            kit.cache.invalidate_url(f"/p/{i}{query}")

    invalidations: dict[str, Callable[[int], None]] = {
        "url": lambda i: kit.cache.invalidate_url(f"https://shop.test/p/{i}"),
        "query": by_query,
        "endpoint": lambda _: kit.cache.invalidate_endpoint("page"),
        "arguments": lambda i: kit.cache.invalidate_endpoint("page", i=i),
        "function": lambda i: cast("Any", app.view_functions["page"]).invalidate(i),
    }
    stale, served = race(app, invalidations[how])
    assert not stale
    assert served > READERS


def test_the_race_can_be_lost(kit: RedisKit, app: Flask) -> None:
    """Without an invalidation stale pages are found: so the others could have found some."""
    stale, _ = race(app, lambda _: time.sleep(0.002))
    assert stale
