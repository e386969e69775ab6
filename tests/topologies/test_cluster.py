"""Cluster: every Exchange at the node of its key, and many of them in one trip."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import redis

from flask_redis_kit import RedisKit
from flask_redis_kit.core import signals
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.script import Script
from flask_redis_kit.core.wire import Wire
from tests.core.connecting import add, get, put, wire_to
from tests.harness.children import exit_code, fork
from tests.harness.clusters import ClusterGroup, slot_of
from tests.topologies.clusters import wire
from tests.waiting import wait_until

__all__ = ["wire"]


class _Text(Script):
    """A script whose source stands in the test."""

    def __init__(self, source: str) -> None:
        super().__init__("tests", "inline.lua")
        self.__dict__["source"] = source.encode()


class _Tally:
    trips = 0


COUNT_UP = _Text("return redis.call('INCRBY', KEYS[1], ARGV[1])")


def count_up(key: str, feature: str = "test") -> Exchange[int]:
    return Exchange(feature, key, [COUNT_UP.call([key], [1])], first)


def _holds(client: Any, key: str, value: bytes) -> bool:
    return bool(client.get(key) == value)


def keys_of(cluster: ClusterGroup, name: str = "k") -> list[str]:
    """A key on each primary."""
    return [cluster.key_on(node, name) for node in cluster.primaries()]


@pytest.mark.parametrize("protocol", [2, 3])
def test_every_exchange_goes_to_the_node_of_its_key(cluster: ClusterGroup, protocol: int) -> None:
    with wire_to(f"{cluster.url}?protocol={protocol}") as wire:
        tally = _Tally()
        keys = [f"key{n}" for n in range(200)]
        outcomes = wire.send_many([put(key, key) for key in keys], tally)
        assert {outcome.result() for outcome in outcomes} == {b"OK"}
        found = [outcome.result() for outcome in wire.send_many([get(key) for key in keys], tally)]
        assert found == [key.encode() for key in keys]
        assert tally.trips == 2
    for key in keys:
        assert cluster.client(cluster.primary_of(key)).get(key) == key.encode()


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_all_nodes_are_asked_before_any_reply_is_read(
    cluster: ClusterGroup, wire: Wire, slow: int
) -> None:
    """One node keeps its reply until the others have done their part."""
    nodes, keys = cluster.primaries(), keys_of(cluster)
    for key in keys:
        wire.send(put(key, "old"))
    waiting: Exchange[Any] = Exchange("test", keys[slow], [("BLPOP", keys[slow] + "l", 20)], first)
    quick = [n for n in range(3) if n != slow]
    exchanges = [put(keys[n], "new") if n in quick else waiting for n in range(3)]
    with wire_to(cluster.url, socket_timeout=20.0) as patient, ThreadPoolExecutor(1) as pool:
        outcomes = pool.submit(patient.send_many, exchanges)
        for n in quick:
            done = partial(_holds, cluster.client(nodes[n]), keys[n], b"new")
            wait_until(done, what="the others' part")
        cluster.client(nodes[slow]).rpush(keys[slow] + "l", "go")
        assert [o.result() for o in outcomes.result()][slow] == [keys[slow].encode() + b"l", b"go"]


def test_commands_for_one_slot_keep_their_order(wire: Wire) -> None:
    outcomes = wire.send_many([step for _ in range(50) for step in (add("n"), get("n"), add("m"))])
    assert [o.result() for o in outcomes][1::3] == [str(n).encode() for n in range(1, 51)]


def test_an_error_in_one_exchange_does_not_poison_the_others(wire: Wire) -> None:
    wire.send(put("{n}text", "x"))
    wrong = Exchange("test", "{n}text", [("LPUSH", "{n}text", "y")], first)
    before, failed, after = wire.send_many([add("n"), wrong, add("n")])
    assert (before.result(), after.result()) == (1, 2)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        failed.result()


def test_scripts_are_taught_to_each_node_and_run_once(cluster: ClusterGroup, wire: Wire) -> None:
    keys = keys_of(cluster)
    for n in range(1, 4):
        tally = _Tally()
        outcomes = wire.send_many([count_up(key) for key in keys], tally)
        assert [outcome.result() for outcome in outcomes] == [n, n, n]
        assert tally.trips == (1 if n == 3 else 2)
        if n == 1:  # the others know it still
            cluster.client(cluster.primaries()[1]).script_flush()


def test_a_read_behind_an_unknown_script_of_its_slot_sees_what_it_wrote(
    cluster: ClusterGroup, wire: Wire
) -> None:
    for n in range(1, 4):
        for node in cluster.primaries():
            cluster.client(node).script_flush()
        written, read = wire.send_many([count_up("n"), get("n")])
        assert written.result() == n
        assert read.result() == str(n).encode()


def test_an_exchange_without_a_key_goes_to_one_node(cluster: ClusterGroup, wire: Wire) -> None:
    commands = [("CLUSTER", "MYID")] * 5
    ask: Exchange[Any] = Exchange("test", "", commands, set, read_only=True)
    seen = {next(iter(wire.send(ask))) for _ in range(50)}
    assert seen <= {cluster.id_of(node).encode() for node in cluster.primaries()}
    assert len(seen) > 1


def test_each_trip_is_signalled_once(cluster: ClusterGroup, wire: Wire) -> None:
    trips: list[tuple[int, object, list[type]]] = []
    again: list[tuple[int, str]] = []

    def listen(_: object, commands: int, error: object, error_replies: Any, **__: object) -> None:
        trips.append((commands, error, [type(reply) for reply in error_replies]))

    def listen_again(_: object, commands: int, reason: str) -> None:
        again.append((commands, reason))

    keys = keys_of(cluster)
    with (
        signals.trip.connected_to(listen, sender=wire),
        signals.retried.connected_to(listen_again, sender=wire),
    ):
        wire.send_many([put(key, "1") for key in keys])
        wire.send_many([add(keys[0]), count_up(keys[1]), get(keys[1])])
    unknown = redis.exceptions.NoScriptError
    assert trips == [(3, None, []), (3, None, [unknown]), (2, None, [])]
    assert again == [(2, "refused")]


def test_keys_of_different_slots_in_one_command_are_refused(wire: Wire) -> None:
    wrong: Exchange[Any] = Exchange("test", "a", [("MGET", "a", "b")], first)
    with pytest.raises(redis.ResponseError, match="slot"):
        wire.send(wrong)


def test_nodes_that_do_not_know_their_own_name_are_found(cluster: ClusterGroup) -> None:
    def prefer(kind: str) -> None:
        for node in cluster.nodes:
            cluster.client(node).config_set("cluster-preferred-endpoint-type", kind)

    prefer("unknown-endpoint")
    try:
        with wire_to(cluster.url) as wire:
            keys = keys_of(cluster)
            for key in keys:
                assert wire.send(add(key)) == 1
            # and a redirection without a host means the same host
            assert wire.connector.nodes is not None
            wire.connector.nodes._table[slot_of(keys[0])] = wire.connector.nodes.of_key(keys[1])
            assert wire.send(add(keys[0])) == 2
    finally:
        prefer("ip")


def test_many_threads_share_a_wire(wire: Wire) -> None:
    def work(number: int) -> int:
        for n in range(100):
            outcomes = wire.send_many([add(f"a{n}"), add(f"b{n}"), add(f"c{n}")])
            assert all(outcome.error is None for outcome in outcomes)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(work, range(8))) == list(range(8))
    found = wire.send_many([get(f"{letter}{n}") for letter in "abc" for n in range(100)])
    assert {outcome.result() for outcome in found} == {b"8"}


def test_small_pools_and_many_threads_do_not_wait_for_each_other(cluster: ClusterGroup) -> None:
    """Each thread needs a connection to every node; they are always taken in the same order."""
    keys = keys_of(cluster)
    orders = [keys, keys[::-1], [keys[1], keys[2], keys[0]]]
    with wire_to(cluster.url, max_connections=1, pool_timeout=20.0) as wire:

        def work(number: int) -> None:
            for _ in range(50):
                for outcome in wire.send_many([add(key) for key in orders[number % 3]]):
                    outcome.result()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        assert [wire.send(get(key)) for key in keys] == [b"300"] * 3


def test_a_forked_child_uses_connections_of_its_own(wire: Wire) -> None:
    keys = [f"f{n}" for n in range(10)]
    wire.send_many([put(key, "1") for key in keys])

    def work() -> bool:
        return all(
            outcome.error is None
            for _ in range(20)
            for outcome in wire.send_many([add(key) for key in keys])
        )

    pids = []
    for _ in range(3):
        pids.append(fork(work))
        wire.send_many([add(key) for key in keys])
    assert [exit_code(pid) for pid in pids] == [0, 0, 0]
    assert {o.result() for o in wire.send_many([get(key) for key in keys])} == {b"64"}


def test_a_forked_child_needs_no_lock_that_a_thread_held(wire: Wire) -> None:
    wire.send(put("n", "1"))
    nodes = wire.connector.nodes
    assert nodes is not None
    node = nodes.of_key("n")
    with nodes._lock, node.breaker._lock:
        node.breaker._open_until = float("inf")  # nor believe what was so in its parent
        pid = fork(lambda: wire.send(get("n")) == b"1")
        node.breaker._open_until = None
    assert exit_code(pid) == 0


def test_the_kits_clients_know_the_cluster(cluster: ClusterGroup) -> None:
    from flask import Flask

    app = Flask("shop")
    app.config["REDIS_URL"] = f"{cluster.url}?decode_responses=1"
    kit = RedisKit(app)
    with app.app_context():
        for n in range(20):
            kit.client.set(f"key{n}", n)
        assert [kit.client.get(f"key{n}") for n in range(20)] == [str(n) for n in range(20)]
        wait_until(
            lambda: [kit.replica.get(f"key{n}") for n in range(20)] == [str(n) for n in range(20)],
            what="the replicas to follow",
        )
        threading.Timer(0.7, kit.client.rpush, ("list", "x")).start()
        popped: Any = kit.blocking.blpop(["list"], 20)  # longer than the reply timeout
        assert list(popped) == ["list", "x"]
        assert all(health.ok for health in kit.health())
        kit.close()


def test_what_is_closed_has_no_connection_left(cluster: ClusterGroup) -> None:
    def ours() -> int:
        return sum(
            client["name"] == "closing"
            for node in cluster.nodes
            for client in cluster.client(node).client_list()
        )

    with wire_to(cluster.url, client_name="closing") as wire:
        wire.send_many([put(f"key{n}", "x") for n in range(20)])
        wire.connector.client.get("key1")
        assert ours() >= 4
    wait_until(lambda: ours() == 0, what="the connections to be closed")
