"""A read that began after an invalidation returned never sees an older value.

Twelve readers in three processes, two writers in a fourth.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import pytest
import redis

from tests.cache.race import Figures, Settings

ROOT = Path(__file__).parents[2]
LOG = "frk:{race:0of1}:cache:t"


def race(
    url: str,
    client: redis.Redis,
    algorithm: str,
    meanwhile: Callable[[], object] | None = None,
    config: Mapping[str, object] = MappingProxyType({}),
) -> Figures:
    """Run one race; ``meanwhile`` is called again and again, and takes its time."""
    readers = Settings(url, algorithm, "reader", 4, 0, config=dict(config))
    writers = Settings(url, algorithm, "writer", 2, 100, config=dict(config))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.cache.race", json.dumps(asdict(settings))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for settings in (readers, readers, readers, writers)
    ]
    client.set("race:go", 1)
    while meanwhile is not None and processes[-1].poll() is None:
        meanwhile()
    processes[-1].wait(timeout=60)
    client.set("race:over", 1)
    total = Figures()
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        part = Figures(**json.loads(output))
        total.reads += part.reads
        total.computed += part.computed
        total.stale += part.stale
        total.invalidations += part.invalidations
    print(f"{algorithm} {dict(config)}: {total}")
    assert total.invalidations == 200
    assert total.reads > 500
    return total


def test_the_naive_way_is_caught(redis_url: str, redis_client: redis.Redis) -> None:
    assert race(redis_url, redis_client, "set of keys").stale > 0


def test_no_read_is_stale(redis_url: str, redis_client: redis.Redis) -> None:
    figures = race(redis_url, redis_client, "ours")
    assert figures.stale == 0
    assert figures.computed < figures.reads, "there were hits"


def test_no_read_is_stale_while_the_server_loses_things(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """Values, leases, scripts and the log itself; and with a log and a lease much too short."""

    def lose() -> None:
        redis_client.blpop(["race:never"], timeout=random.uniform(0.01, 0.04))
        loss = random.randrange(3)
        if loss == 0:
            redis_client.delete(LOG)
        elif loss == 1:
            redis_client.script_flush()
        else:
            for key in redis_client.scan_iter("frk:*:cache:[vl]:*"):
                redis_client.delete(key)

    config = {"REDIS_CACHE_LEASE_SECONDS": 0.001, "REDIS_CACHE_LOG_LIMIT": 5}
    assert race(redis_url, redis_client, "ours", lose, config).stale == 0


@pytest.mark.parametrize(
    "config",
    [
        {"REDIS_CACHE_LEASE_SECONDS": 0.001, "REDIS_CACHE_WAIT_SECONDS": 0},
        {"REDIS_CACHE_LOG_LIMIT": 5},
    ],
    ids=["a short lease and no waiting", "a short log"],
)
def test_no_read_is_stale_with_extreme_settings(
    config: dict[str, object], redis_url: str, redis_client: redis.Redis
) -> None:
    assert race(redis_url, redis_client, "ours", config=config).stale == 0
