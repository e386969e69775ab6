"""Cluster: slots on the move. What a node refused is sent on, once, and nothing gets lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.wire import Wire
from tests.core.connecting import add, get, put
from tests.harness.clusters import ClusterGroup, slot_of
from tests.harness.servers import Server
from tests.topologies.clusters import wire
from tests.topologies.load import Load, appending
from tests.topologies.test_cluster import _Tally, count_up
from tests.waiting import wait_until

__all__ = ["wire"]


def elsewhere(cluster: ClusterGroup, key: str) -> Server:
    """A primary that does not hold the key."""
    return next(node for node in cluster.primaries() if node is not cluster.primary_of(key))


def test_a_slot_that_has_moved_costs_one_trip_more_once(cluster: ClusterGroup, wire: Wire) -> None:
    assert wire.send(add("n")) == 1
    cluster.migrate_slot(slot_of("n"), elsewhere(cluster, "n"))
    trips = []
    for expected in range(2, 5):
        tally = _Tally()
        assert wire.send_many([add("n")], tally)[0].result() == expected
        trips.append(tally.trips)
    assert trips == [2, 1, 1]


def test_while_a_slot_moves_old_keys_are_here_and_new_ones_there(
    cluster: ClusterGroup, wire: Wire
) -> None:
    wire.send(put("{s}old", "1"))
    migration = cluster.begin_migration(slot_of("{s}old"), elsewhere(cluster, "{s}old"))
    try:
        for expected in (1, 2, 3):
            old, new = wire.send_many([add("{s}old"), add("{s}new")])
            assert (old.result(), new.result()) == (1 + expected, expected)
        assert cluster.client(migration.target).dbsize() == 1
        assert [wire.send(count_up("{s}script")) for _ in range(3)] == [1, 2, 3]
        migration.move("{s}old")
        assert wire.send(get("{s}old")) == b"4"
    finally:
        migration.finish()
    read = wire.send_many([get("{s}old"), get("{s}new"), get("{s}script")])
    assert [outcome.result() for outcome in read] == [b"4", b"3", b"3"]


def test_a_read_behind_a_redirected_write_sees_it(cluster: ClusterGroup, wire: Wire) -> None:
    wire.send(put("{r}there", "1"))
    migration = cluster.begin_migration(slot_of("{r}there"), elsewhere(cluster, "{r}there"))
    try:
        both: Exchange[Any] = Exchange(
            "test", "{r}new", [("EXISTS", "{r}new"), ("GET", "{r}there")], list, read_only=True
        )
        written, read = wire.send_many([put("{r}new", "1"), both])
        assert written.result() == b"OK"
        assert read.result() == [1, b"1"]
    finally:
        migration.finish()


def test_a_command_over_keys_on_both_nodes_waits_until_they_are_together(
    cluster: ClusterGroup, wire: Wire
) -> None:
    wire.send_many([put("{t}a", "1"), put("{t}b", "2")])
    migration = cluster.begin_migration(slot_of("{t}a"), elsewhere(cluster, "{t}a"))
    migration.move("{t}a")
    both: Exchange[Any] = Exchange(
        "test", "{t}a", [("MGET", "{t}a", "{t}b")], first, read_only=True
    )
    with pytest.raises(ServerUnavailable, match=f"slot {slot_of('{t}a')} now: TryAgain"):
        wire.send(both)
    assert wire.send(get("{t}a")) == b"1"  # and nothing else suffers
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wire.send, both)
        migration.move("{t}b")
        migration.finish()
        assert waiting.result() == [b"1", b"2"]


def test_a_migration_that_is_called_off(cluster: ClusterGroup, wire: Wire) -> None:
    wire.send(put("{c}a", "1"))
    migration = cluster.begin_migration(slot_of("{c}a"), elsewhere(cluster, "{c}a"))
    assert wire.send(add("{c}b")) == 1
    migration.cancel()
    assert wire.send(add("{c}b")) == 2
    assert cluster.primary_of("{c}b") is migration.source


def test_a_slot_that_nobody_serves_is_waited_for(cluster: ClusterGroup, wire: Wire) -> None:
    wire.send(add("n"))
    node, slot = cluster.primary_of("n"), slot_of("n")
    client = cluster.client(node)
    client.execute_command("CLUSTER", "DELSLOTS", slot)
    with pytest.raises(ServerUnavailable, match=f"slot {slot} now: ClusterDown"):
        wire.send(add("n"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wire.send, add("n"))
        client.execute_command("CLUSTER", "ADDSLOTS", slot)
        assert waiting.result() == 2
    cluster.settle()


def test_nothing_is_lost_and_nothing_runs_twice_while_slots_move_under_load(
    cluster: ClusterGroup, wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight threads append to lists in one slot, which goes round all nodes, keys by keys."""
    slot = slot_of("{moving}")
    with Load(appending(wire), name="{moving}") as load:
        for _ in range(2):
            for node in cluster.primaries():
                if node is cluster.primary_of_slot(slot):
                    continue
                migration = cluster.begin_migration(slot, node)
                load.wait_for(5)
                while migration.move_keys(1):
                    load.wait_for(1)
                migration.finish()
                load.wait_for(5)
    with capsys.disabled():
        print("\n" + load.report("slot moved", wire.connector.client))
    assert load.fate(wire.connector.client) == (0, 0)
    assert not load.errors


def test_scripts_and_batches_under_a_migration_count_exactly(
    cluster: ClusterGroup, wire: Wire
) -> None:
    """What was acknowledged is what the counters say, over keys in a moving slot and outside."""
    keys = ["{hot}a", "{hot}b", "other", "elsewhere"]
    acknowledged = dict.fromkeys(keys, 0)
    lock, done = threading.Lock(), threading.Event()

    def work() -> None:
        while not done.is_set():
            steps = [count_up(key) if key.endswith("a") else add(key) for key in keys]
            for key, outcome in zip(keys, wire.send_many(steps), strict=True):
                assert outcome.error is None
                with lock:
                    acknowledged[key] += 1

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(work) for _ in range(8)]
        try:
            for n in range(1, 5):
                cluster.migrate_slot(slot_of("{hot}"), elsewhere(cluster, "{hot}"))
                enough = partial(lambda n: acknowledged["{hot}a"] > 20 * n, n)
                wait_until(enough, what="some counting")
        finally:
            done.set()
        for each in running:
            each.result()
    found = [outcome.result() for outcome in wire.send_many([get(key) for key in keys])]
    assert [int(value or 0) for value in found] == list(acknowledged.values())
