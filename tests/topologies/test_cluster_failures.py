"""Cluster: nodes that die, hang or never were; seeds that lead nowhere."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from flask_redis_kit import RedisKit
from flask_redis_kit.core.cluster import SEARCH_SECONDS, ClusterNodes
from flask_redis_kit.core.errors import CircuitOpen, ReplyTimeout, ServerRefused, ServerUnavailable
from flask_redis_kit.core.wire import Wire
from tests.core.connecting import add, get, put, wire_to
from tests.harness.certificates import Certificates
from tests.harness.clusters import ClusterGroup
from tests.harness.engines import requires_redis_server
from tests.harness.patience import LONGER, search_for
from tests.harness.proxy import Proxy
from tests.harness.servers import Server, free_port
from tests.topologies.clusters import StartCluster, wire
from tests.topologies.load import Load, appending
from tests.waiting import wait_until

__all__ = ["wire"]


def _leads(cluster: ClusterGroup, node: Server) -> bool:
    return node in cluster.primaries()


def answers(wire: Wire, key: str) -> Callable[[], bool]:
    return lambda: wire.send_many([get(key)])[0].error is None


# seeds


def test_init_app_connects_to_nothing_and_starts_no_thread(cluster: ClusterGroup) -> None:
    from flask import Flask

    with Proxy(cluster.nodes[0].port) as seed:
        threads = set(threading.enumerate())
        app = Flask("shop")
        app.config["REDIS_URL"] = f"redis+cluster://127.0.0.1:{seed.port}"
        kit = RedisKit(app)
        with app.app_context():
            assert kit.cache is not None
            assert (seed.connections, set(threading.enumerate())) == (0, threads)
            assert kit.client.ping()
            assert seed.connections
            kit.close()


def test_many_threads_at_once_ask_the_cluster_once(cluster: ClusterGroup) -> None:
    """They wait for one answer together, not for one after the other behind a hanging seed."""
    start = threading.Barrier(50)
    with Proxy(cluster.nodes[0].port) as seed, Proxy(cluster.nodes[1].port) as hanging:
        hanging.drop_requests()
        seeds = f"127.0.0.1:{hanging.port},127.0.0.1:{seed.port}"
        with wire_to(f"redis+cluster://{seeds}", max_connections=60) as wire:

            def work(number: int) -> Any:
                start.wait()
                return wire.send_many([add("n")])[0].error

            with ThreadPoolExecutor(50) as pool:
                assert set(pool.map(work, range(50))) == {None}
            assert wire.send(get("n")) == b"50"
        assert seed.commands == [(b"CLUSTER", b"SLOTS")]
        assert hanging.connections == 1


def test_wrong_seeds_among_good_ones_do_no_harm(cluster: ClusterGroup, server: Server) -> None:
    single, nobody = server.port, free_port()
    seeds = f"127.0.0.1:{nobody},no-such-host.invalid,127.0.0.1:{single}"
    with wire_to(f"redis+cluster://{seeds},127.0.0.1:{cluster.nodes[4].port}") as wire:
        assert wire.send(add("n")) == 1
        assert wire.connector.client.get("n") == b"1"


def test_when_no_seed_leads_anywhere_the_error_says_what_each_did(server: Server) -> None:
    ports = [free_port() for _ in range(2)]
    seeds = ",".join(f"127.0.0.1:{port}" for port in [*ports, server.port])
    with wire_to(f"redis+cluster://{seeds}") as wire:
        with pytest.raises(ServerUnavailable) as caught:
            wire.send(get("n"))
        for port in ports:
            assert f"127.0.0.1:{port}. Connection refused" in str(caught.value)
        assert f"127.0.0.1:{server.port}: is a single server" in str(caught.value)
        with pytest.raises(ServerUnavailable, match="No node of the cluster"):
            wire.connector.client.get("n")
    with (
        wire_to(f"redis+cluster://127.0.0.1:{server.port}") as wire,
        pytest.raises(ServerRefused, match="its URL begins with redis://"),
    ):
        wire.send(get("n"))


@pytest.mark.tls
def test_passwords_and_certificates_are_those_of_every_node(
    own_cluster: StartCluster, certificates: Certificates
) -> None:
    engine = requires_redis_server(tls=True)
    cluster = own_cluster(engine=engine, password="p@ss/word", certificates=certificates)
    trusted = f"{cluster.url_of(cluster.nodes[0])}?ssl_ca_certs={certificates.authority}"
    with wire_to(trusted) as wire:
        keys = [f"key{n}" for n in range(50)]
        assert {o.result() for o in wire.send_many([add(key) for key in keys])} == {1}
        assert {wire.connector.client.get(key) for key in keys} == {b"1"}
        with wire.connector.dedicated(socket_timeout=5, key="list") as client:
            assert client.rpush("list", "x") == 1
    refusals = {
        trusted.replace("p%40ss", "pass"): "refused the user or password",
        trusted.replace(":p%40ss%2Fword@", ""): "Authentication required",
        cluster.url: "certificate",
    }
    for url, reason in refusals.items():
        with wire_to(url) as wire, pytest.raises(ServerRefused, match=reason):
            wire.send(get("n"))


def test_hanging_seeds_cost_one_search_and_then_nothing_until_they_are_back(
    cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClusterNodes.refresh, "__kwdefaults__", ClusterNodes.refresh.__kwdefaults__)
    search_for(SEARCH_SECONDS / LONGER)
    proxies = [Proxy(node.port) for node in cluster.nodes[:3]]
    try:
        for proxy in proxies:
            proxy.drop_requests()
        seeds = ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies)
        with wire_to(f"redis+cluster://{seeds}") as wire:
            started = time.monotonic()
            with pytest.raises(ServerUnavailable) as caught:
                wire.send(get("n"))
            assert time.monotonic() - started < 8  # each of them alone would have 10
            assert all(f"127.0.0.1:{proxy.port}" in str(caught.value) for proxy in proxies)
            for _ in range(1000):
                with pytest.raises(CircuitOpen):
                    wire.send(get("n"))
            for proxy in proxies:
                proxy.restore()
            wait_until(answers(wire, "n"), what="the probe to find the cluster")
    finally:
        for proxy in proxies:
            proxy.close()


# nodes


def test_a_killed_primary_is_replaced_and_little_is_lost(
    own_cluster: StartCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted: what was acknowledged and is gone was not replicated yet when the primary died."""
    cluster = own_cluster()
    with wire_to(cluster.url) as wire:
        with Load(appending(wire)) as load:
            victim = cluster.primary_of(load.writers[0].key)
            mine = [w for w in load.writers if cluster.primary_of(w.key) is victim]
            load.wait_for(20)
            cluster.kill(victim)
            load.mark()
            load.wait_for(50, what="writes after the replica was promoted")
        assert all(len(writer.acknowledged) > writer.marked for writer in mine)
        assert cluster.primary_of(mine[0].key) is not victim
        client = wire.connector.client
        away = max(b - a for w in mine for a, b in pairwise(w.times))
        with capsys.disabled():
            print("\n" + load.report(f"SIGKILL of the primary of {len(mine)} lists", client))
            print(f"its lists could be written again after {away:.2f} s")
        # what was lost before is the replication's lag; a reply on its way is one for each thread
        assert load.lost_since(client) <= len(mine)
        assert load.fate(client)[1] == 0, "a write ran twice"
        cluster.restart(victim)
        outcomes = wire.send_many([add(f"again{n}") for n in range(50)])
        assert [outcome.error for outcome in outcomes] == [None] * 50


def test_a_hanging_primary_costs_its_own_keys_one_timeout_and_the_others_nothing(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(node_timeout=30)  # nobody takes over
    hanging, *others = cluster.primaries()
    bad, good = cluster.key_on(hanging), cluster.key_on(others[0])
    with wire_to(cluster.url, socket_timeout=2.0) as wire:
        wire.send_many([put(bad, "1"), put(good, "1")])
        cluster.pause(hanging)
        failed, went_on = wire.send_many([get(bad), get(good)])
        assert isinstance(failed.error, ReplyTimeout)
        assert went_on.result() == b"1"
        for _ in range(200):
            failed, went_on = wire.send_many([get(bad), get(good)])
            assert isinstance(failed.error, CircuitOpen)
            assert went_on.result() == b"1"
        cluster.resume(hanging)
        wait_until(answers(wire, bad), what="the probe to find it")
        assert wire.send(get(bad)) == b"1"


def test_a_hanging_primary_is_replaced(own_cluster: StartCluster) -> None:
    cluster = own_cluster()
    hanging = cluster.primaries()[0]
    key = cluster.key_on(hanging)
    with wire_to(cluster.url, socket_timeout=2.0) as wire:
        assert wire.send(add(key)) == 1
        wait_until(lambda: cluster.client(cluster.replica_of(hanging)).dbsize() == 1)
        cluster.pause(hanging)
        with pytest.raises(ReplyTimeout):
            wire.send(add(key))
        cluster.hurry()
        wait_until(answers(wire, key), timeout=60, what="the replica's promotion")
        assert wire.send(add(key)) == 2
        cluster.resume(hanging)  # it finds itself a replica
        cluster.settle()
        for expected in range(3, 53):
            assert wire.send(add(key)) == expected


def test_an_idle_process_finds_what_took_over_meanwhile(own_cluster: StartCluster) -> None:
    """Its connections are broken, its table is old: the first request looks, and is served."""
    cluster = own_cluster()
    victim = cluster.primaries()[0]
    key = cluster.key_on(victim)
    with wire_to(cluster.url_of(victim)) as wire:  # and its only seed is gone as well
        assert wire.send(put(key, "1")) == b"OK"
        wait_until(lambda: cluster.client(cluster.replica_of(victim)).dbsize() == 1)
        cluster.kill(victim)
        cluster.settle()
        assert wire.send(add(key)) == 2


def test_a_planned_failover_loses_nothing(own_cluster: StartCluster) -> None:
    cluster = own_cluster()
    with wire_to(cluster.url) as wire, Load(appending(wire)) as load:
        for primary in cluster.primaries():  # Redis 7 allows no two in a row of the same
            replica = cluster.replica_of(primary)
            cluster.client(replica).execute_command("CLUSTER", "FAILOVER")
            wait_until(partial(_leads, cluster, replica), what="the failover")
            cluster.settle()
            load.wait_for(5)
        load.stop()
        assert load.fate(wire.connector.client) == (0, 0)
        assert not load.errors


def test_interrupted_threads_never_read_a_reply_of_another_command(cluster: ClusterGroup) -> None:
    command = [sys.executable, "-m", "tests.core.interrupted", cluster.url, "1000"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    read, wrong = map(int, done.stdout.split())
    assert read > 100
    assert wrong == 0
