"""The pool: never more connections than allowed, and nobody who waits for one is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_kit.core.errors import CircuitOpen, PoolExhausted, ServerUnavailable
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.pool import Pool
from tests.core.connecting import get, wire_to
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until

LONG = 30.0


def ping() -> Exchange[bytes]:
    return Exchange("test", "", [("PING",)], first, read_only=True)


def pool_of(wire: object) -> Pool:
    pool = getattr(wire, "connector").pool  # noqa: B009  # any wire
    assert isinstance(pool, Pool)
    return pool


def test_many_threads_share_few_connections_and_each_is_served(server: Server) -> None:
    with (
        wire_to(server.url, max_connections=3, pool_timeout=LONG) as wire,
        ThreadPoolExecutor(24) as threads,
    ):
        replies = threads.map(lambda _: [wire.send(ping()) for _ in range(100)], range(24))
        assert {reply for some in replies for reply in some} == {b"PONG"}
        pool = pool_of(wire)
        assert len(pool._all) == len(pool._idle) == 3
        assert pool._waiting == 0


def test_who_waits_gets_the_connection_that_comes_back(server: Server) -> None:
    with (
        wire_to(server.url, max_connections=1, pool_timeout=LONG) as wire,
        ThreadPoolExecutor(3) as threads,
    ):
        pool = pool_of(wire)
        held = pool.get_connection()
        waiting = [threads.submit(wire.send, ping()) for _ in range(3)]
        wait_until(lambda: pool._waiting == 3, what="three to wait")
        pool.release(held)
        assert [each.result() for each in waiting] == [b"PONG"] * 3


def test_who_has_waited_in_vain_leaves_nothing_behind(server: Server) -> None:
    with wire_to(server.url, max_connections=1, pool_timeout=0.01) as wire:
        pool = pool_of(wire)
        held = pool.get_connection()
        for _ in range(3):
            with pytest.raises(PoolExhausted, match="All 1 connections are in use"):
                pool.get_connection()
        assert pool.in_use == 1
        pool.release(held)
        assert wire.send(ping()) == b"PONG"
        assert pool.in_use == 0


def test_a_connection_that_cannot_be_made_takes_nobodys_place(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire_to(server.url, max_connections=2, pool_timeout=LONG) as wire:
        pool = pool_of(wire)
        make: Callable[..., object] = pool.connection_class

        def fails(**_: object) -> object:
            raise MemoryError

        monkeypatch.setattr(pool, "connection_class", fails)
        for _ in range(5):
            with pytest.raises(MemoryError):
                pool.get_connection()
        assert (pool._making, pool._waiting, pool._all) == (0, 0, [])
        monkeypatch.setattr(pool, "connection_class", make)
        assert wire.send(ping()) == b"PONG"


def test_who_waits_may_make_a_connection_when_another_one_could_not(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    makes, may_fail = threading.Event(), threading.Event()
    with (
        wire_to(server.url, max_connections=1, pool_timeout=LONG) as wire,
        ThreadPoolExecutor(2) as threads,
    ):
        pool = pool_of(wire)
        make: Callable[..., object] = pool.connection_class

        def fails_once(**options: object) -> object:
            if not makes.is_set():
                makes.set()
                may_fail.wait(LONG)
                raise MemoryError
            return make(**options)

        monkeypatch.setattr(pool, "connection_class", fails_once)
        failing = threads.submit(pool.get_connection)
        assert makes.wait(LONG)
        waiting = threads.submit(wire.send, ping())
        wait_until(lambda: pool._waiting == 1, what="the second to wait")
        may_fail.set()
        with pytest.raises(MemoryError):
            failing.result()
        assert waiting.result(LONG / 2) == b"PONG"


def test_a_server_that_refuses_connections_costs_no_place(proxy: Proxy) -> None:
    with wire_to(proxy.url, max_connections=1, pool_timeout=0.01) as wire:
        proxy.refuse()
        pool = pool_of(wire)
        for _ in range(2):
            with pytest.raises(ServerUnavailable):
                pool.get_connection()
        proxy.restore()
        connection = pool.get_connection()
        assert pool.in_use == 1
        pool.release(connection)


def let_idle(pool: Pool) -> None:
    """As if its connections had been idle for longer than the interval of their health checks."""
    for connection in pool._idle:
        connection.next_health_check = 0


def test_an_idle_connection_that_was_forgotten_on_the_way_is_made_again(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire_to(proxy.url, max_connections=1, socket_timeout=0.5) as wire:
        assert wire.send(ping()) == b"PONG"
        pool = pool_of(wire)
        let_idle(pool)
        [connection] = pool._idle
        disconnect: Callable[..., object] = connection.disconnect

        def gives_up(*arguments: object, **options: object) -> None:
            proxy.restore()  # it was this connection that nobody on the way knew any more
            disconnect(*arguments, **options)

        monkeypatch.setattr(connection, "disconnect", gives_up)
        proxy.drop_requests()
        assert wire.send(ping()) == b"PONG"
        assert proxy.connections == 2


def test_a_server_that_hangs_when_an_idle_connection_is_used_is_away(server: Server) -> None:
    with wire_to(server.url, socket_timeout=0.2, socket_connect_timeout=0.2) as wire:
        assert wire.send(ping()) == b"PONG"
        let_idle(pool_of(wire))
        server.pause()
        with pytest.raises(ServerUnavailable):
            wire.send(ping())


@pytest.fixture
def url_without_ping(own_server: Callable[..., Server]) -> tuple[str, Server]:
    """A server, and its address for a user who may do all but PING."""
    server = own_server()
    with server.client() as admin:
        admin.acl_setuser(
            "shop", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-ping"]
        )
    return server.url.replace("//", "//shop:secret@"), server


def test_a_user_who_may_not_ping_can_use_idle_connections(
    url_without_ping: tuple[str, Server],
) -> None:
    with wire_to(url_without_ping[0], max_connections=1) as wire:
        assert wire.send(get("x")) is None
        let_idle(pool_of(wire))
        assert wire.send(get("x")) is None


def test_a_user_who_may_not_ping_is_served_again_after_an_outage(
    url_without_ping: tuple[str, Server],
) -> None:
    url, server = url_without_ping
    with wire_to(url, socket_timeout=0.2, socket_connect_timeout=0.2) as wire:
        assert wire.send(get("x")) is None
        server.pause()
        with pytest.raises(ServerUnavailable):
            wire.send(get("x"))
        with pytest.raises(CircuitOpen):
            wire.send(get("x"))
        server.resume()

        def serves() -> bool:
            try:
                wire.send(get("x"))
            except ServerUnavailable:
                return False
            return True

        wait_until(serves)
