"""Sentinel: where the master is, replicas by choice, passwords, threads, and clear errors."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from flask import Flask

from flask_redis_kit import RedisKit
from flask_redis_kit.core import following
from flask_redis_kit.core.errors import ServerError, ServerUnavailable
from flask_redis_kit.core.following import Following
from flask_redis_kit.core.sentinel import SentinelDirectory
from flask_redis_kit.core.watcher import THREAD_NAME, SwitchWatcher
from flask_redis_kit.core.wire import Wire
from tests.core.connecting import add, get, put, wire_to
from tests.core.test_wire import count_up
from tests.harness.engines import Engine
from tests.harness.patience import LONGER
from tests.harness.sentinels import SERVICE, SentinelGroup
from tests.harness.servers import Server, free_port
from tests.waiting import wait_until


def watchers() -> int:
    """How many threads watch Sentinel in this process."""
    return sum(thread.name == THREAD_NAME for thread in threading.enumerate())


def directory_of(wire: Wire) -> SentinelDirectory:
    assert isinstance(wire.connector.following, Following)
    return wire.connector.following.directory


def port_of(client: redis.Redis) -> int:
    """The port of the server that this client talks to."""
    return int(client.info("server")["tcp_port"])


MakeKit = Callable[..., RedisKit]


@pytest.fixture
def make_kit() -> Iterator[MakeKit]:
    """``make_kit(**config)``: a kit on an application of its own, closed after the test."""
    made: list[tuple[Flask, RedisKit]] = []

    def make(**config: object) -> RedisKit:
        app = Flask("shop")
        app.config.update(config)
        made.append((app, RedisKit(app)))
        return made[-1][1]

    yield make
    for _, kit in made:
        kit.close()


@pytest.fixture
def wire(sentinels: SentinelGroup) -> Iterator[Wire]:
    with wire_to(sentinels.url) as wire:
        yield wire


@pytest.fixture(scope="module")
def guarded(engine: Engine) -> Iterator[SentinelGroup]:
    """A group whose servers and daemons have passwords of their own."""
    with SentinelGroup(engine, password="d@ta", sentinel_password="wa/tch") as group:
        yield group


# where the master is


def test_reads_and_writes_go_to_the_master(wire: Wire, sentinels: SentinelGroup) -> None:
    wire.send(put("a", "1"))
    assert wire.send(get("a")) == b"1"
    assert port_of(wire.connector.client) == sentinels.master().port
    assert port_of(wire.connector.blocking) == sentinels.master().port


def test_a_replica_is_read_by_choice_and_never_by_default(
    sentinels: SentinelGroup, make_kit: MakeKit
) -> None:
    kit = make_kit(REDIS_URL=sentinels.url)
    replicas = {server.port for server in sentinels.replicas()}
    kit.client.set("a", "1")
    assert {port_of(kit.client) for _ in range(10)} == {sentinels.master().port}
    assert kit.client.wait(2, 5000) == 2
    assert kit.replica.get("a") == b"1"
    found = set()
    for _ in range(20):  # each connection chooses anew
        found.add(port_of(kit.replica))
        kit.replica.connection_pool.disconnect()
    assert found == replicas
    with pytest.raises(redis.ReadOnlyError):
        kit.replica.set("a", "2")
    assert port_of(kit.replica) in replicas


def test_the_url_may_ask_for_replicas(sentinels: SentinelGroup) -> None:
    with wire_to(sentinels.url_with(role="replica")) as wire:
        assert port_of(wire.connector.client) in {s.port for s in sentinels.replicas()}


def test_flat_keys_say_the_same_as_a_url(guarded: SentinelGroup, make_kit: MakeKit) -> None:
    kit = make_kit(
        REDIS_SENTINEL_HOSTS=",".join(f"127.0.0.1:{d.port}" for d in guarded.daemons),
        REDIS_SENTINEL_MASTER=SERVICE,
        REDIS_SENTINEL_PASSWORD=guarded.sentinel_password,
        REDIS_PASSWORD=guarded.password,
    )
    assert port_of(kit.client) == guarded.master().port


def test_the_forced_address_replaces_what_sentinel_announces(sentinels: SentinelGroup) -> None:
    with wire_to(sentinels.url_with(force_master_ip="localhost")) as wire:
        wire.send(put("a", "1"))
        connection = wire.connector.pool.get_connection()
        assert (connection.host, connection.port) == ("localhost", sentinels.master().port)  # type: ignore[attr-defined]
        wire.connector.pool.release(connection)


# what goes wrong


def test_passwords_of_daemons_and_servers_are_apart(guarded: SentinelGroup) -> None:
    with wire_to(guarded.url) as wire:
        assert wire.send(put("a", "1")) == b"OK"
        assert port_of(wire.connector.replica) in {s.port for s in guarded.replicas()}


@pytest.mark.parametrize("given", [None, "wrong"])
def test_a_wrong_password_of_the_daemons_names_their_setting(
    guarded: SentinelGroup, given: str | None
) -> None:
    url = guarded.url.replace("sentinel_password=wa%2Ftch", "")
    url += f"sentinel_password={given}" if given else ""
    with (
        wire_to(url) as wire,
        pytest.raises(ServerError, match="REDIS_SENTINEL_PASSWORD") as raised,
    ):
        wire.send(get("a"))
    assert "d@ta" not in str(raised.value)


def test_a_wrong_password_of_the_servers_names_their_setting(guarded: SentinelGroup) -> None:
    url = guarded.url.replace("d%40ta", "wrong")
    with wire_to(url) as wire, pytest.raises(ServerError, match="REDIS_PASSWORD") as raised:
        wire.send(get("a"))
    assert "SENTINEL" not in str(raised.value)


def test_when_no_sentinel_can_be_reached_the_error_names_all_of_them_soon() -> None:
    ports = [free_port() for _ in range(3)]
    hosts = [f"127.0.0.1:{port}" for port in ports]
    with wire_to(f"redis+sentinel://{','.join(hosts)}/mymaster") as wire:
        started = time.monotonic()
        with pytest.raises(ServerUnavailable, match="No Sentinel") as raised:
            wire.send(get("a"))
        assert time.monotonic() - started < 8  # each of them alone would have 10
        assert all(host in str(raised.value) for host in hosts)


def test_sentinels_that_hang_cost_less_than_a_timeout_each(
    own_sentinels: Callable[..., SentinelGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SENTINEL_SECONDS", following.SENTINEL_SECONDS / LONGER)
    group = own_sentinels()
    for daemon in group.daemons:
        daemon.pause()
    with wire_to(group.url) as wire:
        started = time.monotonic()
        with pytest.raises(ServerUnavailable, match="No Sentinel") as raised:
            wire.send(get("a"))
        assert time.monotonic() - started < 8  # each of them alone would have 10
        assert all(f":{daemon.port}" in str(raised.value) for daemon in group.daemons)


def test_an_unknown_service_is_named_with_every_sentinel_asked(sentinels: SentinelGroup) -> None:
    url = sentinels.url.replace("/mymaster", "/yourmaster")
    with wire_to(url) as wire:
        with pytest.raises(ServerUnavailable, match="knows no service 'yourmaster'") as raised:
            wire.send(get("a"))
        assert all(f":{daemon.port}" in str(raised.value) for daemon in sentinels.daemons)
        with pytest.raises(ServerUnavailable, match="knows no service 'yourmaster'"):
            wire.connector.replica.get("a")


def test_a_sentinel_that_knows_too_few_others_is_not_believed(sentinels: SentinelGroup) -> None:
    with wire_to(sentinels.url_with(min_other_sentinels=2)) as wire:
        assert wire.send(put("a", "1")) == b"OK"
    with (
        wire_to(sentinels.url_with(min_other_sentinels=3)) as wire,
        pytest.raises(ServerUnavailable, match="fewer than 3 other Sentinels"),
    ):
        wire.send(get("a"))


def test_flapping_sentinels_never_shrink_the_list(
    own_sentinels: Callable[..., SentinelGroup], caplog: pytest.LogCaptureFixture
) -> None:
    group = own_sentinels()
    asked = failed = 0
    with wire_to(group.url) as wire:
        directory = directory_of(wire)
        before = directory.hosts
        stop = threading.Event()

        def ask() -> None:
            nonlocal asked, failed
            while not stop.is_set():
                try:
                    assert directory.master()[1] in {s.port for s in group.servers}
                    asked += 1
                except ServerError:
                    failed += 1

        threads = [threading.Thread(target=ask) for _ in range(4)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for n in range(12):
                group.daemons[n % 3].kill()
                group.daemons[n % 3].start()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)
        print(f"flapping: {asked} answers, {failed} errors, members {directory.hosts}")
        assert directory.hosts == before
        assert asked > 100
        for survivor in group.daemons:  # and each of them alone is found
            for daemon in group.daemons:
                if daemon is not survivor:
                    daemon.kill()
            assert directory.master()[1] == group.servers[0].port
            for daemon in group.daemons:
                daemon.revive()


# threads and processes


def test_threads_are_started_by_the_first_connection_and_ended_by_close(
    sentinels: SentinelGroup, make_kit: MakeKit
) -> None:
    wait_until(lambda: not watchers(), what="the watchers of other tests to end")
    first, second = make_kit(REDIS_URL=sentinels.url), make_kit(REDIS_URL=sentinels.url)
    assert watchers() == 0
    first.client.set("a", "1")
    assert watchers() == 4  # one per Sentinel, and one that asks
    first.client.get("a")
    assert watchers() == 4
    assert second.client.get("a") == b"1"
    assert watchers() == 8
    assert all(t.daemon for t in threading.enumerate() if t.name == THREAD_NAME)
    first.close()
    wait_until(lambda: watchers() == 4, what="the watchers to end")
    assert second.client.get("a") == b"1"
    assert first.client.get("a") == b"1"  # used again after all, it is watched again
    assert watchers() == 8
    for kit in (first, second):
        kit.close()
    wait_until(lambda: not watchers(), what="the watchers to end")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_kit_that_is_forgotten_leaves_no_thread(sentinels: SentinelGroup) -> None:
    with wire_to(sentinels.url):
        pass
    wait_until(lambda: not watchers(), what="the watchers of other tests to end")
    app = Flask("shop")
    app.config["REDIS_URL"] = sentinels.url
    kit = RedisKit(app)
    kit.client.set("a", "1")
    assert watchers() == 4
    del app, kit

    def collected() -> bool:
        gc.collect()
        return not watchers()

    wait_until(collected, what="the watchers to end")


def test_forked_processes_follow_a_failover_on_their_own(sentinels: SentinelGroup) -> None:
    command = [sys.executable, "-m", "tests.topologies.forked", sentinels.url, "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["ready"]
        old = sentinels.failover()
        sentinels.wait_until_switched(old)
        results = {line.split()[0]: list(map(int, line.split()[1:])) for line in process.stdout}
    assert process.returncode == 0
    print(f"forked: {results}")
    sentinels.wait_until_stable()
    with sentinels.master().client() as master:
        for who, (acknowledged, _, threads) in results.items():
            assert int(master.get(f"forked:{who}") or 0) >= acknowledged
            assert threads == 4
    assert set(results) == {"parent", "child"}


def reigns(new: Server, group: SentinelGroup) -> None:
    """Make this server the master of the others, unknown to Sentinel, without disconnecting any."""
    with new.client() as client:
        client.replicaof("NO", "ONE")
    for server in group.servers:
        if server is not new:
            with server.client() as client:
                client.replicaof("127.0.0.1", str(new.port))


def test_a_write_that_the_demoted_master_refused_is_sent_to_the_new_one(
    sentinels: SentinelGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SwitchWatcher, "start", lambda _: None)  # nothing is heard of it
    old, new = sentinels.master(), sentinels.replicas()[0]
    with wire_to(sentinels.url, socket_timeout=5.0) as wire, new.client() as client:
        assert [wire.send(add("n")) for _ in range(3)] == [1, 2, 3]
        wire.send(count_up("script"))
        wait_until(lambda: client.get("script") == b"1", what="the replica to follow")
        try:
            reigns(new, sentinels)
            outcomes = wire.send_many([add("n"), get("n"), count_up("script"), add("n")])
            assert [outcome.result() for outcome in outcomes] == [4, b"4", 2, 5]
            assert (client.get("n"), client.get("script")) == (b"5", b"2")
            with pytest.raises(redis.ReadOnlyError), old.client() as refused:
                refused.set("a", "1")
        finally:
            reigns(old, sentinels)  # as Sentinel knows it


def test_the_users_client_finds_the_new_master_after_one_refusal(
    sentinels: SentinelGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SwitchWatcher, "start", lambda _: None)
    old, new = sentinels.master(), sentinels.replicas()[0]
    with wire_to(sentinels.url, socket_timeout=5.0) as wire:
        client = wire.connector.client
        client.set("a", "1")
        try:
            reigns(new, sentinels)
            with pytest.raises(redis.ReadOnlyError):
                client.set("a", "2")
            client.set("a", "3")
            assert port_of(client) == new.port
        finally:
            reigns(old, sentinels)
