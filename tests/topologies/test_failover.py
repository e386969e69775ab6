"""Failovers of a real Sentinel group under a steady load, with counted results.

What an asynchronous replication may lose is what the replica had not received, however much that
is on a busy machine. What counts is what went to a master that was dead, or was replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from flask import Flask
from redis.sentinel import Sentinel

from flask_redis_kit import RedisKit
from flask_redis_kit.core.errors import ServerError
from flask_redis_kit.core.sentinel import SentinelDirectory
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.queue.worker import Worker
from tests.core.connecting import get, put, wire_to
from tests.harness.sentinels import SERVICE, SentinelGroup
from tests.harness.servers import Server
from tests.topologies.load import Load, appending, appending_idempotently
from tests.topologies.rivals import undisputed
from tests.waiting import wait_until

LAG = 30
"""Writes: about as many as eight threads get acknowledged in 30 ms."""
STOCK_THREADS = 2
SHARE = 4
"""How many times as much redis-py's own client loses, on a machine too busy for ``LAG``."""


@contextmanager
def stock_load(group: SentinelGroup) -> Iterator[Load]:
    """The same writes through redis-py's own Sentinel client."""
    hosts = [("127.0.0.1", daemon.port) for daemon in group.daemons]
    sentinel: Any = Sentinel(hosts, socket_timeout=0.5)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(SERVICE, socket_timeout=0.5)
    try:
        with Load(
            lambda key, value: client.rpush(key, value), threads=STOCK_THREADS, name="stock"
        ) as load:
            yield load
    finally:
        client.close()
        for each in sentinel.sentinels:
            each.close()


def fate_of(load: Load, group: SentinelGroup, title: str) -> tuple[int, int]:
    """Print the figures; acknowledged writes that are lost, and writes that ran twice."""
    with group.master().client() as master:
        print(load.report(title, master))
        return load.fate(master)


def writes_on(stock: Load, old: Server) -> bool:
    """Whether it goes on writing to the old master, which stays writable for two seconds more.

    On a machine that stood still for as long it loses little, and there is nothing to compare with.
    """
    written = stock.written

    def demoted() -> bool:
        with old.client() as client:
            return bool(client.execute_command("ROLE")[0] == b"slave")

    def many() -> bool:
        return stock.written > written + LAG + STOCK_THREADS

    wait_until(lambda: many() or demoted(), what="the other client to write to the old master")
    return many()


def follow(load: Load, group: SentinelGroup, old: Server) -> None:
    """Wait until the Sentinels agree, and then until every thread writes again."""
    group.wait_until_switched(old)
    load.wait_for(1, what="writes to go on within moments of the switch")
    load.wait_for(50)


@pytest.mark.parametrize(
    "harm", [SentinelGroup.kill_master, SentinelGroup.pause_master], ids=["SIGKILL", "SIGSTOP"]
)
def test_a_master_that_dies_or_hangs_is_replaced_and_writes_go_on(
    sentinels: SentinelGroup,
    harm: Callable[[SentinelGroup], Server],
    request: pytest.FixtureRequest,
) -> None:
    def trial() -> tuple[Load, int, int]:
        with wire_to(sentinels.url, socket_timeout=2.0) as wire, Load(appending(wire)) as load:
            load.wait_for(50)
            old = harm(sentinels)
            load.mark()
            follow(load, sentinels, old)
            assert wire.connector.breaker.state == "closed"
            old.revive()  # it still takes itself for the master
            load.wait_for(50)
            sentinels.wait_until_stable()
        _, twice = fate_of(load, sentinels, request.node.callspec.id)
        with sentinels.master().client() as master:
            return load, load.lost_since(master), twice

    load, lost, twice = undisputed(sentinels, trial)
    assert lost <= len(load.writers), "a reply that was on its way is one for each thread"
    assert twice == 0
    # the circuit breaker answers for the dead master: nobody waits for it again and again
    assert load.errors["ReplyTimeout"] + load.errors["ConnectTimeout"] <= 3 * len(load.writers)


def test_a_failover_on_command_loses_no_more_than_the_replication_lag(
    sentinels: SentinelGroup,
) -> None:
    def trial() -> tuple[Load, int, int, int, bool]:
        with (
            wire_to(sentinels.url_with(socket_timeout=30)) as wire,
            Load(appending(wire)) as load,
            stock_load(sentinels) as stock,
        ):
            load.wait_for(50)
            old = sentinels.failover()
            follow(load, sentinels, old)
            compared = writes_on(stock, old)
            sentinels.wait_until_stable()
            load.wait_for(10)
        lost, twice = fate_of(load, sentinels, "SENTINEL FAILOVER")
        stock_lost, _ = fate_of(stock, sentinels, "the same with redis-py's own client")
        return load, lost, twice, stock_lost, compared

    load, lost, twice, stock_lost, compared = undisputed(sentinels, trial)
    # both clients' threads write as often as each other
    assert lost <= max(LAG, stock_lost * len(load.writers) / STOCK_THREADS / SHARE)
    assert twice == 0
    assert sum(load.errors.values()) <= 2 * len(load.writers)
    assert stock_lost > LAG or not compared


def test_a_coordinated_failover_is_not_noticed(sentinels: SentinelGroup) -> None:
    if sentinels.engine.name != "valkey":
        pytest.skip("coordinated failovers are Valkey's")

    def trial() -> tuple[Load, Load]:
        with (
            wire_to(sentinels.url_with(socket_timeout=30)) as wire,
            Load(appending_idempotently(wire)) as load,
            Load(appending(wire), threads=4, name="once") as once,
        ):
            load.wait_for(50)
            old = sentinels.failover(coordinated=True)
            follow(load, sentinels, old)
            sentinels.wait_until_stable()
            once.wait_for(10)
        return load, once

    load, once = undisputed(sentinels, trial)
    assert fate_of(load, sentinels, "COORDINATED, may run twice") == (0, 0)
    assert fate_of(once, sentinels, "COORDINATED, must not run twice") == (0, 0)
    assert not load.errors
    # a write that must not run twice is not sent again if it was under way when it was cut: on the
    # old master, and on the new one when Sentinel has seen the promotion
    assert sum(once.errors.values()) <= 2 * len(once.writers)


def test_a_write_that_may_run_twice_survives_two_cuts_in_a_row(sentinels: SentinelGroup) -> None:
    """A failover may cut it on the old master, and again on the new one at once."""
    with (
        wire_to(sentinels.url_with(socket_timeout=30)) as wire,
        sentinels.master().client(decode_responses=True) as master,
    ):
        wire.send(get("a"))
        master.client_pause(60_000, all=False)
        write = threading.Thread(target=wire.send, args=(put("a", "2"),))
        write.start()
        try:
            for _ in range(2):
                master.client_kill_filter(_id=blocked_writer(master))
            blocked_writer(master)
        finally:
            master.client_unpause()
            write.join(timeout=30)
        assert wire.send(get("a")) == b"2"


def blocked_writer(master: redis.Redis) -> str:
    """The connection whose SET waits, once there is one."""

    def waiting() -> list[str]:
        clients: list[dict[str, str]] = master.client_list()
        return [client["id"] for client in clients if client["cmd"] == "set"]

    wait_until(waiting, what="the write to reach the server")
    return waiting()[0]


def test_a_sentinel_that_missed_the_failover_is_not_believed(
    own_sentinels: Callable[..., SentinelGroup],
) -> None:
    group = own_sentinels()
    with wire_to(group.url) as wire:
        directory = directory_of(wire)
        wire.send(put("a", "1"))
        late = group.daemons[2]
        late.pause()
        old = group.failover()
        wait_until(
            lambda: group.port_named_by(group.daemons[0]) != old.port,
            what="the first Sentinel to switch",
        )
        wire.send(put("a", "2"))
        new = directory.master()
        assert new[1] != old.port
        for daemon in group.daemons[:2]:
            daemon.pause()
        late.resume()
        for _ in range(20):  # it names the old master until it hears of the other one
            directory.ask(2)
            assert directory.master() == new
        assert wire.send(get("a")) == b"2"


def test_a_failover_that_nobody_announced_is_found_by_asking(
    sentinels: SentinelGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_redis_kit.core.watcher import SwitchWatcher

    def deaf(watcher: SwitchWatcher, *_: object) -> None:
        """Hears nothing."""

    monkeypatch.setattr(SwitchWatcher, "_listen", deaf)
    with wire_to(sentinels.url) as wire:
        wire.send(put("a", "1"))
        old = sentinels.failover()
        sentinels.wait_until_switched(old)
        wait_until(
            lambda: directory_of(wire).known != ("127.0.0.1", old.port),
            what="the poll to find the new master",
        )
        wire.send(put("a", "2"))
        with sentinels.master().client() as master:
            assert master.get("a") == b"2"


def test_without_threads_a_demoted_master_is_found_out_by_what_it_says(
    sentinels: SentinelGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_redis_kit.core.watcher import SwitchWatcher

    monkeypatch.setattr(SwitchWatcher, "start", lambda _: None)
    with wire_to(sentinels.url) as wire:
        wire.send(put("a", "1"))
        old = sentinels.failover()
        sentinels.wait_until_switched(old)
        sentinels.wait_until_stable()

        def written() -> bool:
            try:
                return bool(wire.send(put("a", "2")))
            except ServerError:
                return False

        wait_until(written, what="a write to get through")
        with sentinels.master().client() as master:
            assert master.get("a") == b"2"


def test_streams_and_workers_go_on_after_a_failover(sentinels: SentinelGroup) -> None:
    app, kit = Flask("shop"), RedisKit(features=("events", "queue"))
    app.config["REDIS_URL"] = sentinels.url
    kit.init_app(app)
    done: list[int] = []

    @kit.queue.task
    def note(n: int) -> None:
        done.append(n)

    def both_work(n: int) -> None:
        kit.events.publish("orders", "made", n)
        kit.queue.enqueue("note", {"n": n})
        event = reader.get(60)
        assert event is not None
        assert event.data == n
        wait_until(lambda: done[-1:] == [n], what="the job to be done")

    with app.app_context():
        worker = Worker(kit.queue.engine(), app.app_context, ["default"], threads=1)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            with kit.events.subscribe(["orders"]) as reader:
                both_work(1)
                old = sentinels.failover()
                sentinels.wait_until_switched(old)
                both_work(2)
        finally:
            worker.stop()
            thread.join(timeout=30)
            kit.close()
    assert not thread.is_alive()


def directory_of(wire: Wire) -> SentinelDirectory:
    """What knows where the master is."""
    assert wire.connector.following is not None
    return wire.connector.following.directory
