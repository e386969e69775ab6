"""A process whose threads ask for units as fast as they can: ``racing <url> <mode> <threads> <n>``.

``script`` asks limits of 1,000 and 50,000 for two identities in one call, ``auto`` one of 1,000 in
buckets, ``decorator`` 100 and 500 by stacked decorators. ``naive`` is
the textbook's pipeline with a limit of 1,000: it shows that the race can be lost. A fifth argument
sets this process's clocks that many seconds wrong. Prints how many each thread was granted.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from flask import Flask

from flask_redis_kit import RateLimitExceeded, RedisKit
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.ratelimit.identity import hashed
from flask_redis_kit.ratelimit.layout import limit_key
from flask_redis_kit.ratelimit.limits import Claim, Limit
from flask_redis_kit.ratelimit.scripts import acquire, new_token
from tests.core.connecting import wire_to

KEYS = KeyBuilder("race")
SHARED = hashed("shared", source="test")
OTHER = hashed("other", source="test")
WINDOW = 600


def by_script(wire: Wire, mode: str) -> Callable[[], bool]:
    """Asks the script itself: refusals are not remembered, so every attempt reaches the server."""
    claims = [_claim(SHARED, 1000, auto=mode == "auto")]
    if mode == "script":
        claims.append(_claim(OTHER, 50_000))
    return lambda: wire.send(acquire(claims, new_token())).admitted


def _claim(tag: str, units: int, *, auto: bool = False) -> Claim:
    limit = Limit(units, WINDOW * 1_000_000, algorithm="auto" if auto else "sliding-log")
    return Claim(limit, tag, "race", 1, limit_key(KEYS, tag, "race", limit))


def by_pipeline(url: str) -> Callable[[], bool]:
    """Asks as the textbook does: trim, count, add and look, by this process's clock."""
    client = redis.Redis.from_url(url)

    def attempt() -> bool:
        now = time.time()
        pipe: Any = client.pipeline()
        pipe.zremrangebyscore("naive", 0, now - WINDOW)
        pipe.zcard("naive")
        pipe.zadd("naive", {str(now): now})
        pipe.expire("naive", WINDOW)
        count: int = pipe.execute()[1]
        return count < 1000

    return attempt


def by_decorator(url: str) -> Callable[[], bool]:
    """Asks as a user's function does."""
    app = Flask("race")
    app.config.update(REDIS_URL=url, REDIS_RATELIMIT_ON_ERROR="raise")
    app.config.update(REDIS_SOCKET_TIMEOUT=10, REDIS_POOL_TIMEOUT=10)
    kit = RedisKit(app)

    @kit.ratelimit.rate_limit(limit=100, window=WINDOW, key_func=lambda: "shared")
    @kit.ratelimit.rate_limit(limit=500, window=WINDOW, key_func=lambda: "other")
    def work() -> bool:
        return True

    def attempt() -> bool:
        try:
            with app.app_context():
                return work()
        except RateLimitExceeded:
            return False

    return attempt


def run(attempt: Callable[[], bool], threads: int, attempts: int) -> None:
    """Wait for the start, then ask from all threads."""
    granted = [0] * threads
    start = threading.Event()

    def ask(n: int) -> None:
        start.wait()
        for _ in range(attempts):
            granted[n] += attempt()

    workers = [threading.Thread(target=ask, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    print("ready", flush=True)
    sys.stdin.readline()
    start.set()
    for worker in workers:
        worker.join()
    print(*granted)


def set_clocks_wrong(seconds: float) -> None:
    """From here on this process believes it is so much later."""
    for name in ("time", "monotonic"):
        right: Callable[[], float] = getattr(time, name)
        setattr(time, name, lambda right=right: right() + seconds)


if __name__ == "__main__":
    url, mode = sys.argv[1:3]
    counts = [int(number) for number in sys.argv[3:5]]
    if len(sys.argv) > 5:
        set_clocks_wrong(float(sys.argv[5]))
    if mode == "decorator":
        run(by_decorator(url), *counts)
    elif mode == "naive":
        run(by_pipeline(url), *counts)
    else:
        with wire_to(url, socket_timeout=10.0, pool_timeout=10.0) as wire:
            run(by_script(wire, mode), *counts)
