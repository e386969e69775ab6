"""The proxy counts exactly."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.harness.certificates import Certificates
from tests.harness.proxy import Proxy
from tests.harness.requests import RequestParser
from tests.harness.servers import Server
from tests.waiting import wait_until


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    """A client through the proxy that has made its connection already."""
    with redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)) as client:
        client.ping()
        yield client


def test_one_command_is_one_trip(proxy: Proxy, client: redis.Redis) -> None:
    for _ in range(200):
        with proxy.counting() as count:
            client.set("x", 1, ex=60)
        assert (count.trips, count.commands) == (1, [(b"SET", b"x", b"1", b"EX", b"60")])


def test_commands_one_after_the_other_are_trips_of_their_own(
    proxy: Proxy, client: redis.Redis
) -> None:
    with proxy.counting() as count:
        for _ in range(100):
            client.get("x")
    assert count.trips == len(count.commands) == 100


@pytest.mark.parametrize("transaction", [True, False])
@pytest.mark.parametrize("size", [1, 10, 100, 20_000])
def test_a_pipeline_of_any_size_is_one_trip(
    proxy: Proxy, client: redis.Redis, size: int, transaction: bool
) -> None:
    with proxy.counting() as count, client.pipeline(transaction=transaction) as pipeline:
        for number in range(size):
            pipeline.echo(str(number))
        assert pipeline.execute()[-1] == str(size - 1).encode()
    assert count.trips == 1
    assert len(count.commands) == size + 2 * transaction


def test_large_requests_and_replies_are_one_trip_each(proxy: Proxy, client: redis.Redis) -> None:
    value = bytes(range(256)) * 20_480  # 5 MB
    with proxy.counting() as count:
        client.set("x", value)
        assert client.get("x") == value
        assert client.echo(value) == value
    assert count.trips == 3
    assert count.commands[0] == (b"SET", b"x", value)


def test_a_pipeline_of_large_values_is_one_trip(proxy: Proxy, client: redis.Redis) -> None:
    value = b"v" * 1_000_000
    with proxy.counting() as count, client.pipeline(transaction=False) as pipeline:
        for _ in range(8):
            pipeline.echo(value)
        assert pipeline.execute() == [value] * 8
    assert count.trips == 1


def test_a_failing_command_and_a_script_count_like_any_other(
    proxy: Proxy, client: redis.Redis
) -> None:
    with proxy.counting() as count:
        with pytest.raises(redis.ResponseError):
            client.eval("no lua", 0)
        client.eval("return redis.call('GET', KEYS[1])", 1, "x")
    assert count.trips == 2


def test_every_connection_counts_its_own_trips(proxy: Proxy) -> None:
    start = threading.Barrier(8)

    def work(number: int) -> None:
        with redis.Redis(port=proxy.port) as client:
            client.ping()
            start.wait()
            for _ in range(50):
                client.get(f"x{number}")

    with proxy.counting() as count, ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert (count.trips, count.connections) == (400, 8)


def test_what_a_connection_sends_by_itself_is_no_trip(proxy: Proxy) -> None:
    with proxy.counting() as count:
        with redis.Redis(port=proxy.port, db=3, client_name="me", protocol=3) as client:
            client.ping()
        assert (count.trips, count.commands, count.connections) == (0, [], 1)
        names = {command[0] for command in count.handshake_commands}
        assert names >= {b"HELLO", b"SELECT", b"CLIENT", b"PING"}
        assert count.handshakes == len(count.handshake_commands)


def test_a_first_command_is_one_trip_whatever_its_connection_needs(proxy: Proxy) -> None:
    with redis.Redis(port=proxy.port, db=3, health_check_interval=1) as client:
        client.get("x")
    assert proxy.trips == 1
    assert proxy.commands == [(b"GET", b"x")]


def test_a_blocking_command_is_one_trip(proxy: Proxy, client: redis.Redis, server: Server) -> None:
    with proxy.counting() as count, ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.blpop, ["list"], 10)
        wait_until(lambda: count.trips, what="the command to be sent")
        server.client().rpush("list", "v")
        assert reply.result()
    assert count.trips == 1


def test_messages_pushed_to_a_subscriber_are_no_trips(proxy: Proxy, client: redis.Redis) -> None:
    with proxy.counting() as count, client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=5)
        for number in range(20):
            client.publish("news", number)
            message = pubsub.get_message(timeout=5)
            assert message is not None
            assert message["data"] == str(number).encode()
    assert count.trips == 21


def test_a_count_ends_with_its_block_and_reset_starts_anew(
    proxy: Proxy, client: redis.Redis
) -> None:
    with proxy.counting() as outer:
        client.get("a")
        with proxy.counting() as inner:
            client.get("b")
        client.get("c")
    client.get("d")
    assert (inner.trips, outer.trips, proxy.trips) == (1, 3, 4)
    proxy.reset()
    assert (proxy.trips, proxy.handshakes, proxy.connections, proxy.commands) == (0, 0, 0, [])
    client.get("e")
    assert proxy.trips == 1


def test_the_target_may_be_a_port(server: Server) -> None:
    with Proxy(server.port) as proxy, redis.Redis.from_url(proxy.url) as client:
        client.get("x")
        assert proxy.trips == 1


def test_closing_leaves_no_connection_and_no_thread(server: Server) -> None:
    before = set(threading.enumerate())
    with Proxy(server.socket_path) as proxy, redis.Redis(port=proxy.port) as client:
        client.ping()
        assert proxy.open_connections == 1
        assert set(threading.enumerate()) > before
        proxy.close()
        assert proxy.open_connections == 0
    assert set(threading.enumerate()) == before


@pytest.mark.tls
def test_tls_passes_and_its_bursts_are_counted(
    tls_server: Server, certificates: Certificates
) -> None:
    with (
        Proxy(tls_server.port) as proxy,
        redis.Redis(port=proxy.port, ssl=True, ssl_ca_certs=certificates.authority) as client,
    ):
        assert client.ping()
        with proxy.counting() as count:
            client.get("x")
        assert (count.trips, count.commands) == (1, [])


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_requests_are_parsed_in_pieces_of_any_size(step: int) -> None:
    data = b"*2\r\n$3\r\nGET\r\n$4\r\n*\r\n$\r\n*1\r\n$0\r\n\r\n*0\r\n*1\r\n$4\r\nPING\r\n"
    parser = RequestParser()
    commands = []
    for start in range(0, len(data), step):
        commands += parser.feed(data[start : start + step])
    assert commands == [(b"GET", b"*\r\n$"), (b"",), (b"PING",)]
    assert not parser.partial


def test_a_burst_in_pieces_before_its_reply_is_one_trip(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n":
            client.sendall(bytes([byte]))
        assert client.recv(100) == b"$-1\r\n"
    assert (proxy.trips, proxy.commands) == (1, [(b"GET", b"x")])


@pytest.mark.parametrize("size", [1, 10, 3_000])
def test_counting_is_exact_on_a_busy_machine(proxy: Proxy, client: redis.Redis, size: int) -> None:
    done = threading.Event()

    def burn() -> None:
        while not done.is_set():
            sum(range(10_000))

    with ThreadPoolExecutor(3) as pool, client.pipeline(transaction=False) as pipeline:
        for _ in range(3):
            pool.submit(burn)
        try:
            for _ in range(10):
                for _ in range(size):
                    pipeline.echo("x")
                with proxy.counting() as count:
                    pipeline.execute()
                assert count.trips == 1
        finally:
            done.set()
