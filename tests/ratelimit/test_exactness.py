"""Many processes and threads at once: exactly the limit is admitted, never one more or less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.harness.servers import Server

ROOT = Path(__file__).parents[2]
PROCESSES, THREADS, ATTEMPTS = 4, 4, 100


def race(server: Server, mode: str, *, flush: redis.Redis | None = None) -> int:
    """How many attempts of all threads of all processes were admitted."""
    command = [sys.executable, "-m", "tests.ratelimit.racing", server.unix_url, mode]
    command += [str(THREADS), str(ATTEMPTS)]
    racers = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
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
        outputs = [racer.communicate(timeout=60)[0] for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert [racer.returncode for racer in racers] == [0] * PROCESSES
    return sum(int(number) for output in outputs for number in output.split())


@pytest.mark.parametrize("mode", ["script", "decorator"])
def test_two_limits_under_1600_attempts_admit_exactly_the_smaller(
    server: Server, redis_client: redis.Redis, mode: str
) -> None:
    assert race(server, mode) == 100
    assert [redis_client.zcard(key) for key in redis_client.scan_iter()] == [100, 100]


def test_one_limit_of_500_admits_exactly_500(server: Server, redis_client: redis.Redis) -> None:
    assert race(server, "one") == 500  # more than one process may ask for: they did race
    assert [redis_client.zcard(key) for key in redis_client.scan_iter()] == [500]


def test_flushed_scripts_change_nothing(server: Server, redis_client: redis.Redis) -> None:
    assert race(server, "script", flush=redis_client) == 100
