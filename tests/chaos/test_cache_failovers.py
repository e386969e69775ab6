"""The cache's race through masters that die, and longer on a Cluster whose slots move."""

from __future__ import annotations

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
