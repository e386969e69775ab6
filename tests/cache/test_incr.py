"""``kit.cache.incr``: a number like any other value, of which no increment is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit import RedisKit
from flask_redis_kit.cache.changes import LARGEST
from flask_redis_kit.core.errors import ServerError
from tests.cache import counting
from tests.cache.test_values import invalidated, stored_key
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until


def test_it_begins_at_0_and_is_a_value_like_any_other(kit: RedisKit) -> None:
    assert kit.cache.incr("n") == 1
    assert kit.cache.incr("n", 41) == 42
    assert kit.cache.decr("n", 50) == -8
    assert kit.cache.get("n") == -8
    assert kit.cache.get_many(["n"]) == {"n": -8}
    assert kit.cache.set("n", 300) is True
    assert kit.cache.incr("n") == 301


@invalidated
def test_it_begins_anew_when_it_was_invalidated(
    invalidate: Callable[[RedisKit], object], kit: RedisKit
) -> None:
    assert [kit.cache.incr("k", tags=["t"]) for _ in range(2)] == [1, 2]
    invalidate(kit)
    assert kit.cache.get("k") is None
    assert [kit.cache.incr("k", tags=["u"]) for _ in range(2)] == [1, 2]
    kit.cache.invalidate_tags("t")
    assert kit.cache.incr("k") == 3, "its tags are those it began with"
    kit.cache.invalidate_tags("u")
    assert kit.cache.incr("k") == 1


def test_it_keeps_the_time_it_began_with(kit: RedisKit, redis_client: redis.Redis) -> None:
    kit.cache.incr("n", ttl=100)
    key = stored_key(redis_client)
    redis_client.pexpire(key, 50_000)
    kit.cache.incr("n", ttl=1000)
    assert 37_500 < redis_client.pttl(key) <= 50_000
    kit.cache.touch("n", 0.001)
    wait_until(lambda: kit.cache.get("n") is None, 5, "the end of its time")
    assert kit.cache.incr("n") == 1


@pytest.mark.parametrize(
    "value", [None, True, False, 1.0, 2.5, "1", b"\x01", [1], {"a": 1}, 2**70, "x" * 5000]
)
def test_what_is_no_whole_number_is_left_as_it_is(value: object, kit: RedisKit) -> None:
    kit.cache.set("k", value)
    with pytest.raises(TypeError, match="The value of 'k' is no whole number"):
        kit.cache.incr("k")
    assert kit.cache.get("k", "absent") == value


def test_what_a_script_cannot_count_exactly_is_refused(kit: RedisKit) -> None:
    assert kit.cache.incr("n", LARGEST) == LARGEST
    with pytest.raises(OverflowError, match="so nothing was added"):
        kit.cache.incr("n")
    assert kit.cache.get("n") == LARGEST
    assert kit.cache.decr("m", LARGEST) == -LARGEST
    with pytest.raises(OverflowError):
        kit.cache.decr("m")
    for value in (LARGEST + 2, 2**63, 2**64 - 1, -(2**63)):
        kit.cache.set("k", value)
        with pytest.raises(OverflowError):
            kit.cache.incr("k")
        assert kit.cache.get("k") == value
    with pytest.raises(OverflowError):
        kit.cache.incr("o", 2**53)
    with pytest.raises(TypeError, match="whole number"):
        kit.cache.incr("o", 1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="whole number"):
        kit.cache.incr("o", True)


_BOUNDARIES = [0, 1, 31, 32, 127, 128, 255, 256, 2**15, 2**16, 2**31, 2**32, 2**52]


@given(
    start=st.integers(-LARGEST, LARGEST) | st.sampled_from(_BOUNDARIES),
    amounts=st.lists(st.integers(-(2**33), 2**33) | st.sampled_from(_BOUNDARIES), max_size=4),
)
@settings(max_examples=60)
def test_it_adds_as_python_does(start: int, amounts: list[int], kit: RedisKit) -> None:
    kit.cache.set("n", start)
    number = start
    for amount in amounts:
        if abs(number + amount) <= LARGEST:
            number += amount
            assert kit.cache.incr("n", amount) == number
        assert kit.cache.get("n") == number


def test_eight_processes_lose_no_increment(server: Server) -> None:
    threads, increments = 4, 50
    command = [sys.executable, "-m", "tests.cache.counting", server.url, str(threads)]
    root = Path(counting.__file__).parents[2]
    processes = [
        subprocess.Popen([*command, str(increments)], stdout=subprocess.PIPE, cwd=root)
        for _ in range(counting.PROCESSES)
    ]
    seen: list[int] = []
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        seen += json.loads(out)
    assert sorted(seen) == list(range(1, counting.PROCESSES * threads * increments + 1))


def test_an_increment_whose_reply_is_lost_is_not_sent_again(
    warmed: RedisKit, proxy: Proxy, redis_client: redis.Redis
) -> None:
    assert warmed.cache.incr("n") == 1
    proxy.cut_after(1)
    with pytest.raises(ServerError) as caught:
        warmed.cache.incr("n")
    assert getattr(caught.value, "maybe_sent", False) is True
    assert warmed.cache.get("n") == 2, "it was counted once, though nobody knew"


def test_a_script_that_the_server_has_lost_counts_once(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    for n in range(1, 4):
        redis_client.script_flush()
        assert kit.cache.incr("n") == n


def test_without_a_server_there_is_no_number(kit: RedisKit, proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(ServerError):
        kit.cache.incr("n")


def test_a_miss_before_it_does_not_matter(kit: RedisKit, app: Any) -> None:
    with app.test_request_context():
        assert kit.cache.get("n") is None
        kit.cache.invalidate_tags("t")
        assert kit.cache.incr("n", tags=["t"]) == 1
        assert kit.cache.get("n") == 1
