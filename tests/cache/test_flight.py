"""Single flight: one computes, the others wait for him, but not for ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from flask import Flask

from flask_redis_kit import RedisKit, cache_result
from tests.cache.conftest import MakeKit
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
LEASES = "frk:*:cache:l:*"


def test_50_cold_callers_compute_once(make_kit: MakeKit, redis_url: str) -> None:
    kit = make_kit(redis_url, REDIS_MAX_CONNECTIONS=60)
    calls: list[int] = []
    ready = threading.Barrier(50)

    @kit.cache.cache_result()
    def slow(n: int) -> int:
        calls.append(n)
        return n

    def caller(_: int) -> list[int]:
        values = []
        for n in range(10):
            ready.wait()
            values.append(slow(n))
        return values

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(caller, range(50)))
    assert results == [list(range(10))] * 50
    assert sorted(calls) == list(range(10))


def test_cold_callers_in_4_processes_compute_once(
    redis_url: str, redis_client: redis.Redis
) -> None:
    command = [sys.executable, "-m", "tests.cache.callers", redis_url, "12"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert results == [["value"] * 12] * 4
    assert redis_client.get("computed") == b"1"


def test_who_waits_for_a_killed_process_goes_on_within_the_wait(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    """The lease outlives its holder; the waiter computes for himself and does not store."""
    kit = make_kit(redis_url, REDIS_CACHE_WAIT_SECONDS=0.2, REDIS_CACHE_LEASE_SECONDS=600)

    @kit.cache.cache_result()
    def value() -> int:
        return 1

    _hold_and_die(kit, value.cache_key(), 600_000)
    assert value() == 1
    assert redis_client.exists(*redis_client.scan_iter(LEASES)) == 1
    assert not redis_client.exists(value.cache_key())


def test_who_waits_takes_over_when_the_lease_expires(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_WAIT_SECONDS=600)

    @kit.cache.cache_result()
    def value() -> int:
        return 1

    _hold_and_die(kit, value.cache_key(), 300)
    assert value() == 1
    assert redis_client.exists(value.cache_key())


def _hold_and_die(kit: RedisKit, key: str, ms: int) -> None:
    """Another process takes the lease of a key, for ``ms``, and is killed."""
    lease = key.replace(":cache:v:", ":cache:l:")
    url = str(kit.state().app.config["REDIS_URL"])
    code = (
        "import sys; from tests.harness.topologies import client_of; url, key, ms = sys.argv[1:];"
        "client_of(url).set(key, 'token', nx=True, px=int(ms)); print('held');"
        "sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, url, lease, str(ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        os.kill(process.pid, signal.SIGKILL)


def test_a_failed_computation_passes_the_turn_on(kit: RedisKit) -> None:
    calls: list[int] = []
    first_computes, first_may_fail = threading.Event(), threading.Event()

    @kit.cache.cache_result()
    def fragile() -> str:
        calls.append(1)
        if len(calls) == 1:
            first_computes.set()
            first_may_fail.wait(60)
            raise LookupError
        return "value"

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(fragile)
        assert first_computes.wait(60)
        waiting = pool.submit(fragile)
        first_may_fail.set()
        with pytest.raises(LookupError):
            failing.result()
        assert waiting.result() == "value"
    assert len(calls) == 2


def test_a_lease_shorter_than_the_computation_still_stores(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_LEASE_SECONDS=0.001)

    @kit.cache.cache_result()
    def slow() -> int:
        started = time.monotonic()
        wait_until(lambda: not list(redis_client.scan_iter(LEASES)), what="the lease to expire")
        wait_until(lambda: time.monotonic() - started > 0.002, what="it to expire here, too")
        return 1

    slow()
    assert redis_client.exists(slow.cache_key())


def test_a_lease_that_vanished_early_stores_nothing(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    """As after a failover that lost writes: the lease is gone before its time."""

    @kit.cache.cache_result()
    def value() -> int:
        redis_client.delete(*redis_client.scan_iter(LEASES))
        return 1

    value()
    assert not redis_client.exists(value.cache_key())
    assert not list(redis_client.scan_iter("frk:*:cache:w:*"))


def test_the_log_lost_while_computing_stores_nothing(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    @kit.cache.cache_result()
    def value() -> int:
        kit.cache.clear()
        kit.cache.invalidate_tags("anything")
        return 1

    value()
    assert not redis_client.exists(value.cache_key())


def test_a_route_computes_once(app: Flask, redis_client: redis.Redis) -> None:
    calls: list[int] = []
    computes, may_end = threading.Event(), threading.Event()

    @app.get("/")
    @cache_result()
    def page() -> str:
        calls.append(1)
        computes.set()
        may_end.wait(60)
        return "x"

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(lambda: app.test_client().get("/").text)
        assert computes.wait(60)
        others = [pool.submit(lambda: app.test_client().get("/").text) for _ in range(7)]
        may_end.set()
        assert [first.result(), *(each.result() for each in others)] == ["x"] * 8
    assert calls == [1]
    assert not list(redis_client.scan_iter(LEASES))
