"""A read that began after an invalidation returned never sees an older value.

Twelve readers in three processes, two writers in a fourth, thousands of reads in each mode. How
these tests can fail: two naive algorithms do here, and ``tests/chaos/test_cache_mutations.py``
builds a defect into the kit that the mode must find (``Mode.caught``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.cache.harms import all_relieved
from tests.cache.modes import MODE_PARAMETERS, Mode
from tests.cache.referee import race


@pytest.fixture
def relieved(redis_client: redis.Redis) -> Iterator[redis.Redis]:
    """A client of the server; afterwards nothing limits its memory."""
    yield redis_client
    all_relieved(redis_client)


@pytest.mark.parametrize("naive", ["set of keys", "token at save"])
def test_the_naive_way_is_caught(naive: str, redis_url: str) -> None:
    assert race(redis_url, contender=naive, reads=1500).stale > 0


@pytest.mark.parametrize("mode", MODE_PARAMETERS)
def test_no_read_is_stale(mode: Mode, redis_url: str, relieved: redis.Redis) -> None:
    meddle = None if mode.harm is None else mode.harm(relieved)
    figures = race(redis_url, meddle=meddle, **mode.race_options)
    assert figures.stale == 0, figures.examples
    assert figures.hits > 30, "it proves nothing"
