"""Defects built into the kit on purpose: each mode of the cache's race finds what it is there for.

That is how we know that the race can fail. What no race can find are defects of a check that
another one backs: what the commit lets pass the next reader refuses, and a value of a later moment
than the log's can't outlive that moment, as they are one stream of replication.
"""

from __future__ import annotations

from itertools import chain

import pytest
import redis

from tests.cache.harms import all_relieved
from tests.cache.modes import MODES
from tests.cache.mutations import NAMES
from tests.cache.referee import race

_ATTEMPTS = 20
_EQUIVALENT = {
    "commit without the log",
    "a later moment accepted by the commit",
    "a later moment accepted by the reader",
}
_ON_CLUSTER = {"the first shard only", "one round to all shards"}
PAIRS = [
    pytest.param(name, mutation, id=f"{name}: {mutation}")
    for name, mode in MODES.items()
    for mutation in mode.caught
]


@pytest.mark.parametrize(("name", "mutation"), PAIRS)
def test_a_defect_is_found(
    name: str, mutation: str, redis_url: str, redis_client: redis.Redis
) -> None:
    mode = MODES[name]
    try:
        for _ in range(_ATTEMPTS):
            meddle = None if mode.harm is None else mode.harm(redis_client)
            options = {**mode.race_options, "mutations": (mutation,)}
            if race(redis_url, meddle=meddle, **options).stale:
                return
    finally:
        all_relieved(redis_client)
    pytest.fail(f"{_ATTEMPTS} races found no stale read")


@pytest.mark.parametrize("mutation", sorted(_EQUIVALENT))
def test_what_the_commit_lets_pass_the_reader_refuses(mutation: str, redis_url: str) -> None:
    assert race(redis_url, mutations=(mutation,)).stale == 0


def test_every_defect_is_some_mode_s_business() -> None:
    caught = set(chain.from_iterable(mode.caught for mode in MODES.values()))
    assert caught | _EQUIVALENT | _ON_CLUSTER == NAMES
