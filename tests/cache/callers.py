"""``python -m tests.cache.callers <url> <threads>``: threads that all want the same value."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from flask import Flask

from flask_redis_kit import RedisKit
from tests.harness.topologies import client_of
from tests.waiting import wait_until

PROCESSES = 4


def main(url: str, threads: int) -> None:
    """Wait for the other processes, call, and print what each thread got."""
    app = Flask("callers")
    app.config["REDIS_URL"] = url
    kit = RedisKit(app, features=("cache",))
    client = client_of(url)

    @kit.cache.cache_result()
    def slow() -> str:
        client.incr("computed")
        return "value"

    client.incr("ready")
    wait_until(lambda: int(client.get("ready") or 0) == PROCESSES, 30, "the other processes")
    with ThreadPoolExecutor(threads) as pool:
        print(json.dumps(list(pool.map(lambda _: slow(), range(threads)))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
