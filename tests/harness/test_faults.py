"""Each fault of the proxy does what it says, and ``restore()`` ends it."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.harness.engines import Engine
from tests.harness.faults import Faults
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until

TIMEOUT = 0.5
PING = b"*1\r\n$4\r\nPING\r\n"
GET = b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n"


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    """A client through the proxy: connected, impatient, without retries."""
    with redis.Redis(
        port=proxy.port, socket_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
    ) as client:
        client.ping()
        yield client


@pytest.fixture
def connection(proxy: Proxy) -> Iterator[socket.socket]:
    """A bare connection through the proxy, known to be up."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(PING)
        assert connection.recv(100) == b"+PONG\r\n"
        yield connection


def read_to_end(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(100), b""))


def test_a_delay_comes_once_for_each_burst_of_replies(proxy: Proxy) -> None:
    with redis.Redis(port=proxy.port, socket_timeout=10) as client:
        client.set("x", b"v" * 3_000_000)
        proxy.delay(0.3)
        start = time.monotonic()
        client.get("x")
        took = time.monotonic() - start
    assert 0.3 <= took < 10  # many reads of the proxy, one delay


def test_a_delay_longer_than_the_timeout_is_a_timeout(proxy: Proxy, client: redis.Redis) -> None:
    proxy.delay(30)
    with pytest.raises(redis.TimeoutError):
        client.get("x")
    proxy.restore()
    assert client.get("x") is None


def test_dropped_replies_are_those_of_commands_that_ran(
    proxy: Proxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    proxy.drop_replies(2)
    for _ in range(2):
        with pytest.raises(redis.TimeoutError):
            client.incr("x")
    assert client.incr("x") == 3
    assert redis_client.get("x") == b"3"


def test_all_the_replies_of_a_pipeline_are_dropped_as_one(
    proxy: Proxy, client: redis.Redis
) -> None:
    proxy.drop_replies(1)
    with client.pipeline() as pipeline:
        pipeline.incr("x")
        pipeline.incr("x")
        with pytest.raises(redis.TimeoutError):
            pipeline.execute()
    assert client.incr("x") == 3


def test_all_replies_are_dropped_until_restored(proxy: Proxy, client: redis.Redis) -> None:
    proxy.drop_replies()
    for _ in range(3):
        with pytest.raises(redis.TimeoutError):
            client.ping()
    proxy.restore()
    assert client.ping()


def test_a_reply_in_flight_is_dropped_too(
    proxy: Proxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    with client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=5)
        proxy.drop_replies()
        assert redis_client.publish("news", "lost") == 1
        assert pubsub.get_message(timeout=0.1) is None
        proxy.restore()
        redis_client.publish("news", "found")
        message = pubsub.get_message(timeout=5)
        assert message is not None
        assert message["data"] == b"found"


def test_dropped_requests_never_run(
    proxy: Proxy, client: redis.Redis, redis_client: redis.Redis
) -> None:
    proxy.drop_requests()
    with pytest.raises(redis.TimeoutError):
        client.set("x", 1)
    assert proxy.commands == [(b"SET", b"x", b"1")]
    proxy.restore()
    assert redis_client.get("x") is None
    assert client.set("x", 2)


def test_a_cut_closes_every_connection_and_new_ones_work(
    proxy: Proxy, connection: socket.socket, client: redis.Redis
) -> None:
    assert proxy.open_connections == 2
    proxy.cut()
    assert proxy.open_connections == 0
    assert connection.recv(100) == b""
    with redis.Redis(port=proxy.port) as another:
        assert another.ping()


def test_a_cut_with_rst_is_a_reset_by_the_peer(proxy: Proxy, connection: socket.socket) -> None:
    proxy.cut(rst=True)
    with pytest.raises(ConnectionResetError):
        connection.recv(100)


def test_a_cut_interrupts_a_reply_that_nobody_reads(
    proxy: Proxy, redis_client: redis.Redis
) -> None:
    redis_client.set("x", b"v" * 30_000_000)
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.sendall(b"GET x\r\n")
        wait_until(lambda: connection.recv(1, socket.MSG_PEEK), what="the reply to begin")
        proxy.cut(rst=True)
        assert proxy.open_connections == 0


@pytest.mark.parametrize("size", [0, 1, 5, 11])
def test_a_connection_is_cut_in_the_middle_of_a_reply_once(
    proxy: Proxy, connection: socket.socket, redis_client: redis.Redis, size: int
) -> None:
    redis_client.set("x", "0123456789")
    whole = b"$10\r\n0123456789\r\n"
    proxy.cut_after(size)
    connection.sendall(PING)
    assert connection.recv(100) == b"+PONG\r\n"  # a handshake is spared
    connection.sendall(GET)
    assert read_to_end(connection) == whole[:size]
    with socket.create_connection(("127.0.0.1", proxy.port)) as another:
        another.sendall(GET)
        assert another.recv(100) == whole


def test_new_connections_are_refused_and_old_ones_go_on(
    proxy: Proxy, connection: socket.socket
) -> None:
    port = proxy.port
    proxy.refuse()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    connection.sendall(PING)
    assert connection.recv(100) == b"+PONG\r\n"
    proxy.restore()
    assert proxy.port == port
    socket.create_connection(("127.0.0.1", port)).close()


def test_a_client_of_a_dead_server_gets_an_end_of_file(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    with Proxy(server.socket_path) as proxy:
        server.kill()
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            assert connection.recv(100) == b""
        server.start()
        with redis.Redis(port=proxy.port) as client:
            assert client.ping()


def test_a_rewritten_hello_imitates_an_old_server(
    own_server: Callable[..., Server], any_engine: Engine
) -> None:
    server = own_server(engine=any_engine)
    hello = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
    with (
        Proxy(server.socket_path) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port)) as connection,
    ):
        connection.sendall(hello)
        before = connection.recv(10_000)
        found = re.search(rb"\$7\r\nversion\r\n(\$\d+\r\n[0-9.]+\r\n)", before)
        assert found
        proxy.rewrite(found[1], b"$5\r\n6.2.9\r\n")
        connection.sendall(hello)
        assert connection.recv(10_000) == before.replace(found[1], b"$5\r\n6.2.9\r\n")
        proxy.restore()
        connection.sendall(hello)
        assert connection.recv(10_000) == before


def test_a_match_is_rewritten_wherever_it_is_split() -> None:
    faults = Faults()
    faults.add_rewrite(b"abab", b"X")
    faults.add_rewrite(b"cd", b"YYY")
    data = b"zababcababdcdab\r\n"
    for first in range(len(data)):
        for second in range(first, len(data)):
            out, held = b"", b""
            for piece in (data[:first], data[first:second], data[second:]):
                ready, held = faults.rewritten(held + piece)
                out += ready
            assert out + held == b"zXcXdYYYab\r\n"
            assert held == b""
