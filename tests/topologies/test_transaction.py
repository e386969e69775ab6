"""Transactions on Cluster, where all keys share a slot, and through failovers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from flask_redis_kit import (
    CrossSlotError,
    RedisKit,
    ServerUnavailable,
    TransactionPartial,
)
from flask_redis_kit.core import signals
from tests.core.transacting import shop_at
from tests.harness.clusters import ClusterGroup, slot_of
from tests.harness.sentinels import SentinelGroup
from tests.harness.servers import Server
from tests.topologies.load import Load, Write
from tests.waiting import wait_until


@pytest.fixture
def kit(cluster: ClusterGroup) -> Iterator[RedisKit]:
    with shop_at(cluster.url) as (_, kit):
        yield kit


@pytest.fixture
def trips() -> Iterator[Callable[[], int]]:
    """How many trips there were since the last call."""
    count = 0

    def counted(_: object, **__: object) -> None:
        nonlocal count
        count += 1

    def since() -> int:
        nonlocal count
        found, count = count, 0
        return found

    signals.trip.connect(counted)
    yield since
    signals.trip.disconnect(counted)


def twice(kit: RedisKit) -> Write:
    """Appends to a list and to its twin."""
    app = kit.state().app

    def write(key: str, value: str) -> None:
        with app.app_context(), kit.transaction() as tx:
            tx.execute("RPUSH", key, value)
            tx.execute("RPUSH", f"{{{key}}}twin", value)

    return write


def check(load: Load, client: redis.Redis, *, lost: int = 0) -> None:
    """The lists are as their twins, without repetitions, and hold what was acknowledged.

    Since ``load.mark()``: what was lost with the server that died is the replication's lag.
    """
    missing = 0
    for writer in load.writers:
        found, twin = (
            [str(value, "ascii") for value in client.lrange(key, 0, -1)]  # type: ignore[arg-type]  # bytes
            for key in (writer.key, f"{{{writer.key}}}twin")
        )
        assert found == twin
        assert len(found) == len(set(found))
        missing += len(set(writer.acknowledged[writer.marked :]) - set(found))
    print(f"{load.written} acknowledged, {missing} lost, {dict(load.errors)}")
    assert missing <= lost


def elsewhere(cluster: ClusterGroup, key: str) -> Server:
    return next(node for node in cluster.primaries() if node is not cluster.primary_of(key))


def execute(kit: RedisKit, *commands: Any) -> list[Any]:
    """The replies of one transaction."""
    with kit.transaction() as tx:
        results = [tx.execute(*command) for command in commands]
    return [result.value for result in results]


def count_up(kit: RedisKit, *keys: str) -> list[int]:
    return execute(kit, *(("INCR", key) for key in keys))


def test_keys_of_one_slot_are_one_trip(kit: RedisKit, trips: Callable[[], int]) -> None:
    for n in range(1, 10):
        for name in ("x", "y", "z"):
            trips()
            assert count_up(kit, f"{{{name}}}a", f"{{{name}}}b") == [n, n]
            assert trips() == 1


def test_keys_of_several_slots_are_refused_before_anything_is_sent(
    kit: RedisKit, trips: Callable[[], int]
) -> None:
    count_up(kit, "{x}a")
    trips()
    with pytest.raises(CrossSlotError) as caught:
        execute(
            kit,
            ("INCR", "{x}a"),
            ("MSET", "{x}b", 1, "y", 2),
            ("PUBLISH", "z", "heard anywhere"),
            ("EVAL", "return 1", 2, "{x}c", "w", "argument"),
        )
    assert trips() == 0
    message = str(caught.value)
    assert "Not in that of '{x}a' of INCR '{x}a' and 2 more: 'y' of MSET" in message
    assert "'w' of EVAL" in message
    assert "{user:7}:cart" in message
    replies = execute(
        kit,
        ("GET", b"{x}a"),
        ("RENAME", "{x}a", "{x}b"),
        ("OBJECT", "ENCODING", "{x}b"),
        ("BITOP", "NOT", "{x}d", "{x}b"),
    )
    assert replies == [b"1", b"OK", b"int", 1]


def test_what_only_the_server_knows_of_keys_it_refuses(kit: RedisKit) -> None:
    with pytest.raises(CrossSlotError, match=r"ZUNIONSTORE '\{x\}a'"):
        execute(kit, ("INCR", "{x}n"), ("ZUNIONSTORE", "{x}a", 1, "y"))
    assert kit.client.get("{x}n") is None
    with kit.transaction() as tx:  # here the first argument is no key
        read = tx.execute("XREAD", "STREAMS", "{x}s", "0", keys=["{x}s"])
        counted = tx.execute("INCR", "{x}n")
    assert (read.value, counted.value) == (None, 1)


def test_features_go_into_it_as_far_as_their_keys_allow(
    kit: RedisKit, trips: Callable[[], int]
) -> None:
    with kit.transaction() as tx:
        jobs = tx.queue.enqueue_many([("pack", {"order": n}) for n in range(3)])
    assert [kit.queue.job(job).state for job in jobs.value] == ["waiting"] * 3
    assert [queue.queue for queue in kit.queue.stats()] == ["default"]  # it was announced
    trips()
    with kit.transaction() as tx:
        job = tx.queue.enqueue("pack")
    assert trips() == 1
    assert kit.queue.job(job.value).state == "waiting"
    before = kit.events.cursor(user=42)
    with kit.transaction() as tx:
        tx.events.publish_to_user(42, "paid")
        tx.events.publish_to_user(42, "sent")
    with kit.events.subscribe(user=42, after=before) as events:
        assert [next(events).type for _ in range(2)] == ["paid", "sent"]
    assert kit.cache.get("price") is None
    with kit.transaction() as tx:
        stored = tx.cache.set("price", 12)
    assert (stored.value, kit.cache.get("price")) == (True, 12)
    with kit.transaction() as tx:
        deleted = tx.cache.delete("price")
    assert (deleted.value, kit.cache.get("price")) == (True, None)


def test_an_invalidation_of_tags_has_many_slots(kit: RedisKit, trips: Callable[[], int]) -> None:
    for call in (
        lambda tx: tx.cache.invalidate_tags("product:7"),
        lambda tx: (tx.queue.enqueue("pack"), tx.execute("INCR", "a")),
    ):
        with pytest.raises(CrossSlotError, match="hash tag"), kit.transaction() as tx:
            call(tx)
    assert trips() == 0


def test_a_command_that_fails_as_it_runs_is_named(kit: RedisKit) -> None:
    count_up(kit, "{x}n")
    with pytest.raises(TransactionPartial) as caught:
        execute(kit, ("INCR", "{x}n"), ("LPUSH", "{x}n", "y"))
    assert (caught.value.applied, caught.value.failed) == (("INCR '{x}n'",), ("LPUSH '{x}n'",))


def test_a_slot_that_has_moved_costs_one_trip_more_once(
    cluster: ClusterGroup, kit: RedisKit, trips: Callable[[], int]
) -> None:
    assert count_up(kit, "{x}a", "{x}b") == [1, 1]
    cluster.migrate_slot(slot_of("{x}a"), elsewhere(cluster, "{x}a"))
    taken = []
    for expected in range(2, 5):
        trips()
        assert count_up(kit, "{x}a", "{x}b") == [expected, expected]
        taken.append(trips())
    assert taken == [2, 1, 1]


def test_while_a_slot_moves_it_goes_to_where_its_keys_are(
    cluster: ClusterGroup, kit: RedisKit
) -> None:
    assert count_up(kit, "{x}a", "{x}b") == [1, 1]
    migration = cluster.begin_migration(slot_of("{x}a"), elsewhere(cluster, "{x}a"))
    try:
        assert count_up(kit, "{x}a", "{x}b") == [2, 2]
        migration.move("{x}a")
        assert count_up(kit, "{x}a") == [3]
        assert count_up(kit, "{x}b") == [3]
        with pytest.raises(ServerUnavailable, match=r"nothing .* applied: TryAgain"):  # apart
            count_up(kit, "{x}a", "{x}b")
        migration.move("{x}b")
        assert count_up(kit, "{x}a", "{x}b") == [4, 4]
    finally:
        migration.finish()
    assert count_up(kit, "{x}a", "{x}b") == [5, 5]


def test_under_load_slots_move_and_nothing_is_lost_or_half_done(
    cluster: ClusterGroup, kit: RedisKit
) -> None:
    with Load(twice(kit), threads=4) as load:
        load.wait_for(20)
        for writer in load.writers:
            slot = slot_of(writer.key)
            cluster.migrate_slot(slot, elsewhere(cluster, writer.key))
        load.wait_for(20)
    assert set(load.errors) <= {"ServerUnavailable"}
    check(load, kit.client)


def test_a_primary_that_dies_is_replaced_and_nothing_is_half_done(
    own_cluster: Callable[..., ClusterGroup],
) -> None:
    cluster = own_cluster()
    with shop_at(cluster.url) as (_, kit):
        with Load(twice(kit), threads=4) as load:
            load.wait_for(20)
            cluster.kill(cluster.primary_of(load.writers[0].key))
            load.mark()
            load.wait_for(1, what="the replica to be promoted")
            load.wait_for(20)
        assert set(load.errors) <= {"TransactionUncertain", "ServerUnavailable", "CircuitOpen"}
        check(load, kit.client, lost=len(load.writers))


def test_a_primary_that_was_replaced_unnoticed_costs_no_error(
    own_cluster: Callable[..., ClusterGroup],
) -> None:
    cluster = own_cluster()
    with shop_at(cluster.url) as (_, kit):
        assert count_up(kit, "a") == [1]
        primary = cluster.primary_of("a")
        with primary.client() as client:
            assert client.wait(1, 30_000) == 1
        cluster.kill(primary)
        wait_until(
            lambda: cluster.primary_of("a") is not primary,
            timeout=60,
            what="the replica to be promoted",
        )
        cluster.settle()
        assert count_up(kit, "a") == [2]


def test_a_failover_under_sentinel_leaves_nothing_half_done(sentinels: SentinelGroup) -> None:
    with shop_at(sentinels.url) as (_, kit):
        with Load(twice(kit), threads=4) as load:
            load.wait_for(20)
            old = sentinels.failover()
            sentinels.wait_until_switched(old)
            load.wait_for(20)
            sentinels.wait_until_stable()
            old = sentinels.kill_master()
            load.mark()
            sentinels.wait_until_switched(old)
            load.wait_for(20)
            old.revive()
        check(load, kit.client, lost=len(load.writers))


@pytest.mark.parametrize(
    "command",
    [("INCR", "a"), ("EVAL", "return redis.call('INCR', KEYS[1])", 1, "a")],
    ids=["refused when queued", "refused as it runs"],
)
def test_what_a_demoted_master_refuses_is_sent_to_the_new_one(
    own_sentinels: Callable[..., SentinelGroup], command: Any, trips: Callable[[], int]
) -> None:
    """Its refusal is the proof that nothing was applied."""
    sentinels = own_sentinels()
    with shop_at(sentinels.url) as (_, kit):
        assert count_up(kit, "a", "b") == [1, 1]
        old, new = sentinels.master(), sentinels.replicas()[0]
        with old.client() as one, new.client() as other:
            assert one.wait(2, 30_000) == 2
            other.execute_command("REPLICAOF", "NO", "ONE")
            one.execute_command("REPLICAOF", "127.0.0.1", new.port)  # connections stay open
        trips()
        with kit.transaction() as tx:
            counted = tx.execute(*command)
        assert counted.value == 2
        assert trips() == 2
