"""Many processes and threads at once: exactly the limit is admitted, never one more or less."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import redis

from tests.harness.servers import Server
from tests.ratelimit.racing import WINDOW

ROOT = Path(__file__).parents[2]
WRONG = (WINDOW + 60, 0, -WINDOW - 60, 60, 0, -60, 3, -3)
"""Seconds by which the clocks of the workers are wrong: up to more than the window."""


def race(
    server: Server,
    mode: str,
    *,
    clocks: Sequence[float] = (0,) * 4,
    threads: int = 4,
    attempts: int = 100,
    flush: redis.Redis | None = None,
) -> int:
    """How many attempts of all threads of all processes (one a clock) were admitted."""
    command = [sys.executable, "-m", "tests.ratelimit.racing", server.unix_url, mode]
    command += [str(threads), str(attempts)]
    racers = [
        subprocess.Popen(
            [*command, str(clock)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for clock in clocks
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        while flush is not None and any(racer.poll() is None for racer in racers):
            flush.script_flush()
        outputs = [racer.communicate(timeout=120)[0] for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    return sum(int(number) for output in outputs for number in output.split())


def test_limits_of_1000_and_50000_under_16000_attempts_admit_exactly_1000(
    server: Server, redis_client: redis.Redis
) -> None:
    assert race(server, "script", clocks=WRONG, attempts=500) == 1000
    assert [redis_client.zcard(key) for key in redis_client.scan_iter()] == [1000, 1000]


def test_the_same_race_is_lost_by_the_textbook_s_pipeline(
    server: Server, redis_client: redis.Redis
) -> None:
    assert race(server, "naive", clocks=WRONG[:4]) > 1100
    redis_client.delete("naive")


def test_decorators_admit_exactly_the_smaller_limit(
    server: Server, redis_client: redis.Redis
) -> None:
    assert race(server, "decorator", clocks=WRONG[:4]) == 100
    assert [redis_client.zcard(key) for key in redis_client.scan_iter()] == [100, 100]


def test_buckets_admit_exactly_their_limit(server: Server) -> None:
    assert race(server, "auto") == 1000  # more than one process may ask for: they did race


def test_flushed_scripts_change_nothing(server: Server, redis_client: redis.Redis) -> None:
    assert race(server, "script", flush=redis_client) == 1000
