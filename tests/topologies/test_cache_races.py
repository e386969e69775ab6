"""The cache's race where servers change: a slot on its way, a failover, several shards.

A failover may lose what the replicas did not have, invalidations too; that is asynchronous
replication. What is promised, and counted here: an invalidation that all replicas have acknowledged
holds through any failover.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from flask import Flask

from flask_redis_kit import RedisKit
from tests.cache.race import Figures, Truth
from tests.cache.referee import Meddle, race
from tests.harness.clusters import ClusterGroup, slot_of
from tests.harness.sentinels import SentinelGroup
from tests.harness.servers import Server

_WAYS = ("function", "route", "made of another", "hand", "many by hand")


def moving(cluster: ClusterGroup) -> Meddle:
    """One of the shards moves, keys by keys."""

    def move(_: Truth) -> None:
        slot = slot_of(f"frk:{{race:{random.randrange(16)}of16}}:cache:t")
        here = cluster.primary_of_slot(slot)
        there = random.choice([node for node in cluster.primaries() if node is not here])
        migration = cluster.begin_migration(slot, there)
        time.sleep(0.02)  # while new keys are there and old ones here
        while migration.move_keys(1):
            time.sleep(0.002)
        time.sleep(0.02)
        migration.finish()

    return move


def test_no_read_is_stale_on_a_cluster(cluster: ClusterGroup) -> None:
    figures = race(cluster.url, ways=_WAYS)
    assert figures.stale == 0, figures.examples


def test_an_invalidation_that_reaches_one_shard_only_is_found(cluster: ClusterGroup) -> None:
    assert race(cluster.url, ways=_WAYS, mutations=("the first shard only",)).stale > 0


def test_no_read_is_stale_while_slots_move(cluster: ClusterGroup) -> None:
    """What a moving slot does not let happen is raised by an invalidation, and not acknowledged."""
    figures = race(cluster.url, ways=_WAYS, meddle=moving(cluster), reads=6000)
    assert figures.stale == 0, figures.examples


def test_the_naive_way_is_caught_on_a_cluster(cluster: ClusterGroup) -> None:
    assert race(cluster.url, contender="set of keys", reads=1500).stale > 0


@pytest.mark.parametrize("peer", [False, True], ids=["kit", "peer"])
def test_methods_are_cached_and_clear_forgets_all_on_a_cluster(
    cluster: ClusterGroup, peer: bool
) -> None:
    """Flask-Caching's never caches a method there, and ``clear()`` reaches one node."""
    app = Flask("shop")
    app.config.update(
        REDIS_URL=cluster.url,
        CACHE_TYPE="RedisClusterCache",
        CACHE_REDIS_CLUSTER=cluster.url.partition("//")[2],
    )
    computed: list[int] = []

    class Basket:
        def __cache_key__(self) -> str:
            return "7"

        def total(self) -> int:
            computed.append(1)
            return 1

    with app.app_context(), ExitStack() as stack:
        if peer:
            theirs = pytest.importorskip("flask_caching").Cache(app)
            cache, total = theirs, theirs.memoize()(Basket.total)
        else:
            kit = RedisKit(app, features=("cache",))
            stack.callback(kit.close)
            cache, total = kit.cache, kit.cache.cache_result("total")(Basket.total)
        basket = Basket()
        assert [total(basket) for _ in range(3)] == [1, 1, 1]
        assert len(computed) == (3 if peer else 1)
        for n in range(30):
            cache.set(f"key{n}", n)
        cache.clear()
        survivors = [n for n in range(30) if cache.get(f"key{n}") is not None]
        assert bool(survivors) == peer


def failing_over(group: SentinelGroup, harm: Callable[[SentinelGroup], Server]) -> Meddle:
    """The master is replaced, and comes back as a replica."""

    def fail_over(_: Truth) -> None:
        old = harm(group)
        group.wait_until_switched(old)
        time.sleep(0.1)
        group.wait_until_stable()
        time.sleep(0.3)

    return fail_over


def race_through_failovers(
    group: SentinelGroup, harm: Callable[[SentinelGroup], Server]
) -> Figures:
    """A race whose invalidations count when all replicas have them."""
    invalidators = ("on all replicas",)
    meddle = failing_over(group, harm)
    return race(group.url, ways=_WAYS, invalidators=invalidators, meddle=meddle, writes=60)


def test_what_all_replicas_know_is_invalidated_through_a_failover(sentinels: SentinelGroup) -> None:
    figures = race_through_failovers(sentinels, SentinelGroup.failover)
    assert figures.stale == 0, figures.examples
