"""A process that is killed while it computes: the others go on within the lease."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import redis
from flask import Flask

from flask_redis_kit import RedisKit
from tests.cache.conftest import MakeKit

_forking = multiprocessing.get_context("forkserver")
PREFIX, LEASE = "slow", 600.0


def compute_for_ever(url: str, began: Connection) -> None:
    """What the process does that will be killed."""
    app = Flask("shop")
    app.config.update(REDIS_URL=url, REDIS_CACHE_LEASE_SECONDS=LEASE)
    kit = RedisKit(app, features=("cache",))

    @kit.cache.cache_result(PREFIX)
    def value() -> str:
        began.send("computing")
        threading.Event().wait()
        return "never"

    value()


def test_50_callers_go_on_when_the_process_that_computes_is_killed(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    computed: list[int] = []

    def value() -> str:
        computed.append(1)
        return "value"

    # a lease that outlives the wait would make each of them compute
    kits = [
        make_kit(
            redis_url,
            REDIS_MAX_CONNECTIONS=60,
            REDIS_CACHE_LEASE_SECONDS=LEASE,
            REDIS_CACHE_WAIT_SECONDS=60,
        )
        for _ in range(2)
    ]
    value.__qualname__ = "compute_for_ever.<locals>.value"
    cached = [kit.cache.cache_result(PREFIX)(value) for kit in kits]
    listening, theirs = _forking.Pipe()
    process = _forking.Process(target=compute_for_ever, args=(redis_url, theirs), daemon=True)
    process.start()
    assert listening.poll(60)
    assert listening.recv() == "computing"
    lease = cached[0].cache_key().replace(":cache:v:", ":cache:l:")

    with ThreadPoolExecutor(50) as pool:
        waiting = [pool.submit(cached[n % 2]) for n in range(50)]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        assert redis_client.pexpire(lease, 300)  # of 600 s: it ends while they wait
        assert [each.result(60) for each in waiting] == ["value"] * 50
    process.join()
    listening.close()
    theirs.close()
    assert len(computed) == 1
