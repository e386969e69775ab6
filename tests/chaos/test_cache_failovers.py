"""The cache's race through masters that die, and longer on a Cluster whose slots move."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cache.referee import race
from tests.harness.clusters import ClusterGroup
from tests.harness.sentinels import SentinelGroup
from tests.topologies.clusters import cluster, session_cluster
from tests.topologies.conftest import sentinels, session_sentinels
from tests.topologies.test_cache_races import moving, race_through_failovers

__all__ = ["cluster", "sentinels", "session_cluster", "session_sentinels"]


def test_what_all_replicas_know_is_invalidated_though_masters_die(
    sentinels: SentinelGroup,
) -> None:
    figures = race_through_failovers(sentinels, SentinelGroup.kill_master)
    assert figures.stale == 0, figures.examples


def test_no_read_is_stale_while_slots_move_and_leases_are_short(cluster: ClusterGroup) -> None:
    figures = race(
        cluster.url,
        ways=("function", "dynamic tags", "many by hand"),
        meddle=moving(cluster),
        config={"REDIS_CACHE_LEASE_SECONDS": 0.002, "REDIS_CACHE_LOG_LIMIT": 10},
    )
    assert figures.stale == 0, figures.examples


def test_an_invalidation_that_reaches_the_shards_one_by_one_is_found(
    cluster: ClusterGroup,
) -> None:
    """What is made of another value may be made of an old one, as long as not all have heard."""
    options: dict[str, Any] = {"ways": ("made of another",), "slowest": 0.001, "pause": 0.01}
    for _ in range(20):
        if race(cluster.url, mutations=("one round to all shards",), **options).stale:
            return
    pytest.fail("20 races found no stale read")
