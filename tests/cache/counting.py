"""``python -m tests.cache.counting <url> <threads> <increments>``: threads that count together."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from flask import Flask

from flask_redis_kit import RedisKit
from tests.harness.topologies import client_of
from tests.waiting import wait_until

PROCESSES = 8


def main(url: str, threads: int, increments: int) -> None:
    """Wait for the other processes, count, and print every number that was seen."""
    app = Flask("counting")
    app.config["REDIS_URL"] = url
    kit = RedisKit(app, features=("cache",))
    client = client_of(url)
    client.incr("ready")
    wait_until(lambda: int(client.get("ready") or 0) == PROCESSES, 60, "the other processes")

    def work(_: int) -> list[int]:
        return [kit.cache.incr("visits", tags=["all"]) for _ in range(increments)]

    with ThreadPoolExecutor(threads) as pool:
        print(json.dumps([n for part in pool.map(work, range(threads)) for n in part]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
