"""The wire: one trip for many, errors apart, nothing sent twice, no reply read as another's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from flask_redis_kit.core.conversation import Prepared
from flask_redis_kit.core.errors import (
    CircuitOpen,
    PoolExhausted,
    ReplyTimeout,
    ServerUnavailable,
)
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.script import Script
from flask_redis_kit.core.wire import Wire
from tests.core.connecting import add, get, put, wire_to
from tests.harness.children import exit_code, fork
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until


@pytest.fixture
def wire(proxy: Proxy) -> Iterator[Wire]:
    with wire_to(proxy.url) as wire:
        yield wire


class _Text(Script):
    """A script whose source stands in the test."""

    def __init__(self, source: str) -> None:
        super().__init__("tests", "inline.lua")
        self.__dict__["source"] = source.encode()


COUNT_UP = _Text("return redis.call('INCRBY', KEYS[1], ARGV[1])")


def count_up(key: str, feature: str = "test") -> Exchange[int]:
    return Exchange(feature, key, [COUNT_UP.call([key], [1])], first)


def test_a_prepared_command_says_what_it_would_say_unprepared(wire: Wire) -> None:
    for value in (b"\x00\xff", "\u00e9", 7, 1.5, ""):
        commands = [Prepared("SET", "a", value), Prepared("GET", "a")]
        kept = Exchange("test", "a", commands, list, idempotent=True)
        plain = Exchange("test", "a", [tuple(command) for command in commands], list)
        for _ in range(2):
            assert wire.send(kept) == wire.send(plain)
            assert wire.transact([kept])[-1] == wire.transact([plain])[-1]


def test_five_exchanges_are_one_round_trip(wire: Wire, proxy: Proxy) -> None:
    wire.send(put("a", "1"))
    with proxy.counting() as count:
        outcomes = wire.send_many([get("a"), add("n"), get("b"), count_up("n"), get("a")])
    assert count.trips == 2  # the script was unknown: its call went again, with its source
    with proxy.counting() as count:
        outcomes = wire.send_many([get("a"), add("n"), get("b"), count_up("n"), get("a")])
    assert count.trips == 1
    assert [outcome.result() for outcome in outcomes] == [b"1", 3, None, 4, b"1"]


def test_nothing_to_send_waits_for_no_reply(wire: Wire) -> None:
    assert wire.send_many(()) == []
    assert wire.connector.breaker.state == "closed"


def test_an_error_in_one_exchange_does_not_poison_the_others(wire: Wire) -> None:
    wire.send(put("text", "x"))
    wrong = Exchange("test", "text", [("LPUSH", "text", "y")], first)
    before, failed, after = wire.send_many([add("n"), wrong, add("n")])
    assert before.result() == 1
    assert after.result() == 2
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        failed.result()


def test_a_connection_cut_in_its_handshake_is_made_again(wire: Wire, proxy: Proxy) -> None:
    proxy.cut_handshakes(1)
    assert wire.send(add("n")) == 1  # nothing had been sent: whatever it is, it may go out now
    proxy.cut()
    proxy.cut_handshakes(1)
    assert wire.send(add("n")) == 2
    assert proxy.connections == 4


def test_a_server_that_cuts_every_handshake_is_named_after_the_second(
    wire: Wire, proxy: Proxy
) -> None:
    proxy.cut_handshakes(2)
    with pytest.raises(ServerUnavailable, match="closed the connection at once"):
        wire.send(add("n"))
    assert proxy.connections == 2
    assert wire.send(add("n")) == 1


def test_a_flushed_script_is_taught_again_and_runs_once(wire: Wire, server: Server) -> None:
    assert wire.send(count_up("n")) == 1
    with server.client() as client:
        client.script_flush()
    assert wire.send(count_up("n")) == 2
    assert wire.send(count_up("n")) == 3


def test_a_read_behind_an_unknown_script_of_its_feature_sees_what_it_wrote(
    wire: Wire, server: Server
) -> None:
    for n in range(1, 4):
        with server.client() as client:
            client.script_flush()
        written, read, others = wire.send_many(
            [count_up("n", "mine"), get("n", "mine"), get("n", "others")]
        )
        assert written.result() == n
        assert read.result() == str(n).encode()
        assert others.error is None


def test_a_write_whose_reply_was_lost_is_not_sent_again(proxy: Proxy) -> None:
    with wire_to(proxy.url, socket_timeout=1.0) as wire:
        wire.send(add("n"))
        proxy.drop_replies(1)
        with pytest.raises(ReplyTimeout, match="may have run"):
            wire.send(add("n"))
        wait_until(lambda: wire.connector.breaker.state == "closed", what="the breaker to close")
        assert wire.send(add("n")) == 3


def test_on_a_cut_connection_reads_go_again_and_writes_do_not(
    wire: Wire, proxy: Proxy, server: Server
) -> None:
    wire.send_many([put("a", "1"), add("n")])
    proxy.cut_after(0)
    read, written, idempotent = wire.send_many([get("a"), add("n"), put("b", "2")])
    assert read.result() == b"1"
    assert idempotent.result() == b"OK"
    with pytest.raises(ServerUnavailable):
        written.result()
    with server.client() as client:
        assert int(client.get("n") or 0) <= 2


def test_an_idle_connection_that_the_server_closed_is_replaced_before_a_write(
    server: Server,
) -> None:
    with wire_to(server.url) as wire:
        connection: Any = wire.connector.pool.get_connection()
        wire.connector.pool.release(connection)
        for expected in range(1, 6):
            assert wire.send(add("n")) == expected
            with server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            wait_until(connection.is_stale, what="the server's goodbye to arrive")


def test_an_unread_reply_on_a_pooled_connection_is_never_read_as_another(wire: Wire) -> None:
    wire.send(put("x", "right"))
    connection = wire.connector.pool.get_connection()
    connection.send_command("ECHO", "wrong")  # type: ignore[no-untyped-call]
    wire.connector.pool.release(connection)
    wait_until(connection.is_stale, what="the reply to arrive")  # type: ignore[attr-defined]
    assert wire.send(get("x")) == b"right"


def test_interrupted_threads_never_read_a_reply_of_another_command(server: Server) -> None:
    command = [sys.executable, "-m", "tests.core.interrupted", server.url, "1000"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    read, wrong = map(int, done.stdout.split())
    assert read > 100
    assert wrong == 0


def test_when_all_connections_are_in_use_the_error_says_so(server: Server) -> None:
    with wire_to(server.url, max_connections=1, pool_timeout=0.01) as wire:
        held = wire.connector.pool.get_connection()
        with pytest.raises(PoolExhausted, match="REDIS_MAX_CONNECTIONS"):
            wire.send(get("a"))
        assert wire.connector.breaker.state == "closed"
        wire.connector.pool.release(held)
        assert wire.send(get("a")) is None


def test_a_hung_server_costs_one_timeout_and_then_nothing_until_it_is_back(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    with wire_to(server.url, socket_timeout=0.2) as wire:
        wire.send(put("a", "1"))
        server.pause()
        with pytest.raises(ReplyTimeout):
            wire.send(get("a"))
        for _ in range(100):  # none of them asks the server
            with pytest.raises(CircuitOpen, match="not asked again"):
                wire.send(get("a"))
        server.resume()
        wait_until(lambda: wire.connector.breaker.state == "closed", what="the breaker to close")
        assert wire.send(get("a")) == b"1"


def test_a_killed_server_opens_the_circuit_and_its_return_closes_it(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    with wire_to(server.url) as wire:
        wire.send(put("a", "1"))
        server.kill()
        for _ in range(3):
            with pytest.raises(ServerUnavailable):
                wire.send(get("a"))
        with pytest.raises(CircuitOpen):
            wire.send(get("a"))
        server.revive()
        wait_until(lambda: wire.connector.breaker.state == "closed", what="the breaker to close")
        assert wire.send(put("a", "2")) == b"OK"


def test_where_no_thread_can_probe_an_overdue_probe_rides_a_request(
    own_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    server = own_server()
    with wire_to(server.url, socket_timeout=0.05, breaker_open_seconds=0.01) as wire:
        wire.send(put("a", "1"))
        os.kill(server.pid, 19)  # SIGSTOP
        with pytest.raises(ReplyTimeout):
            wire.send(get("a"))
        with pytest.raises(CircuitOpen):
            wire.send(get("a"))
        os.kill(server.pid, 18)  # SIGCONT

        def answered() -> bool:
            return wire.send_many([get("a")])[0].error is None

        wait_until(answered, what="a request to be let through")
        assert wire.connector.breaker.state == "closed"


def test_a_forked_child_uses_connections_of_its_own(wire: Wire, tmp_path: Path) -> None:
    wire.send(put("a", "1"))

    def work() -> bool:
        return all(wire.send(add("n")) > 0 and wire.send(get("a")) == b"1" for _ in range(50))

    pids = []
    for n in range(3):
        pids.append(fork(work))
        wire.send(put(f"parent{n}", str(n)))
    assert [exit_code(pid) for pid in pids] == [0, 0, 0]
    assert wire.send(get("n")) == b"150"


def test_both_protocols_give_the_same_values(server: Server) -> None:
    from flask_redis_kit.core.exchange import number, pairs

    for protocol in (2, 3):
        with wire_to(f"{server.url}?protocol={protocol}") as wire:
            wire.send(Exchange("test", "h", [("HSET", "h", "f", "v")], first))
            wire.send(Exchange("test", "z", [("ZADD", "z", "1.5", "m")], first))
            read = Exchange("test", "h", [("HGETALL", "h")], lambda r: pairs(r[0]), read_only=True)
            score = Exchange("test", "z", [("ZSCORE", "z", "m")], lambda r: number(r[0]))
            assert wire.send(read) == {b"f": b"v"}
            assert wire.send(score) == 1.5


def test_features_see_bytes_whatever_the_user_chose_for_his_client(server: Server) -> None:
    with wire_to(server.url, decode_responses=True) as wire:
        wire.send(put("a", "1"))
        assert wire.send(get("a")) == b"1"
        assert wire.connector.client.get("a") == "1"


def test_connections_that_are_all_cut_at_once_do_not_open_the_circuit(
    wire: Wire, proxy: Proxy, server: Server
) -> None:
    wire.send(put("a", "1"))
    states: list[str] = []
    for _ in range(5):  # more in a row than it takes to open it
        proxy.cut_after(0)
        with pytest.raises(ServerUnavailable):
            wire.send(add("n"))
        states.append(wire.connector.breaker.state)
    assert set(states) == {"closed"}
    assert wire.send(get("a")) == b"1"
