"""The harness's servers: real ones, with every option, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.harness.certificates import Certificates
from tests.harness.engines import Engine, requires_redis_server
from tests.harness.servers import Server
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
StartServer = Callable[..., Server]


def is_dead(port: int) -> bool:
    """Whether nobody listens there; for a server that is only paused, the kernel does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_every_engine_answers_on_both_addresses(
    own_server: StartServer, any_engine: Engine
) -> None:
    server = own_server(engine=any_engine)
    assert server.port != 6379
    for url in (server.url, server.unix_url):
        with redis.Redis.from_url(url) as client:
            assert client.info("server")["process_id"] == server.pid


def test_a_server_without_tcp_has_no_port(own_server: StartServer) -> None:
    server = own_server(tcp=False)
    assert server.port == 0
    assert server.client().info("server")["tcp_port"] == 0


def test_password_users_and_arguments_are_in_force(own_server: StartServer) -> None:
    server = own_server(
        password="p@ss/word", users={"ann": "on >secret ~* +@all"}, args=("--maxmemory", "90mb")
    )
    with redis.Redis.from_url(server.url) as client:
        assert client.info("memory")["maxmemory"] == 94371840
    with redis.Redis.from_url(server.url_as("ann", "secret")) as client:
        assert client.execute_command("ACL", "WHOAMI") == b"ann"
    with (
        redis.Redis.from_url(server.url_as("", None)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_server_that_cannot_start_says_why(own_server: StartServer) -> None:
    with pytest.raises(RuntimeError, match="no-such-option"):
        own_server(args=("--no-such-option", "1"))


def test_a_taken_port_is_tried_again_and_another_found(
    own_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = own_server()
    ports = iter([first.port, first.port + 1, first.port + 2, first.port + 3])
    monkeypatch.setattr("tests.harness.servers.free_port", lambda: next(ports))
    assert own_server().port != first.port


def test_restart_keeps_port_and_data(own_server: StartServer) -> None:
    server = own_server()
    port, pid = server.port, server.pid
    with server.client() as client:
        client.set("x", 1)
        server.restart()
        assert (server.port, server.pid != pid) == (port, True)
        assert server.client().get("x") == b"1"


@pytest.mark.parametrize("append_only", [True, False])
def test_a_kill_loses_what_is_not_in_the_append_only_file(
    own_server: StartServer, append_only: bool
) -> None:
    server = own_server(append_only=append_only)
    server.client().set("x", 1)
    server.kill()
    assert not server.alive
    with pytest.raises(redis.ConnectionError):
        server.client().ping()
    server.start()
    assert server.client().get("x") == (b"1" if append_only else None)


def test_a_paused_server_answers_when_resumed(own_server: StartServer) -> None:
    server = own_server()
    with server.client(socket_timeout=1) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
    assert server.client().ping()


def test_a_stopped_server_is_gone_with_its_directory_even_when_paused(
    own_server: StartServer,
) -> None:
    server = own_server()
    server.pause()
    assert not is_dead(server.port)
    server.stop()
    assert is_dead(server.port)
    assert not server.directory.exists()


@pytest.mark.parametrize("damage", [Server.kill, Server.pause], ids=["kill", "pause"])
def test_a_damaged_session_server_is_revived(
    session_server: Server, damage: Callable[[Server], None]
) -> None:
    session_server.revive()
    damage(session_server)
    session_server.revive()
    assert session_server.client(socket_timeout=5).ping()


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_a_server_dies_with_the_process_that_started_it(paused: bool) -> None:
    script = (
        "from tests.harness.servers import Server\n"
        "server = Server()\n"
        f"{'server.pause()' if paused else ''}\n"
        "print(server.port, server.directory, flush=True)\n"
        "input()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        words = child.stdout.readline().split()
        port, directory = int(words[0]), Path(words[1])
        assert not is_dead(port)
        os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: is_dead(port), what="the server to die with its owner")
    wait_until(lambda: not directory.exists(), what="its directory to be removed")


@pytest.mark.tls
def test_tls_is_checked_in_both_directions(
    own_server: StartServer, certificates: Certificates
) -> None:
    server = own_server(
        engine=requires_redis_server(tls=True),
        tls=certificates.server,
        tls_client_certificates=True,
    )
    client = {
        "ssl_certfile": certificates.client.certificate,
        "ssl_keyfile": certificates.client.key,
    }
    good = {"ssl_ca_certs": certificates.authority, **client}
    with redis.Redis.from_url(server.url, **good) as connection:
        assert connection.ping()
    for bad in (
        {"ssl_ca_certs": certificates.wrong_authority, **client},
        {"ssl_ca_certs": certificates.authority},
    ):
        with (
            redis.Redis.from_url(server.url, **bad) as connection,
            pytest.raises(redis.ConnectionError),
        ):
            connection.ping()


@pytest.mark.tls
def test_the_tls_server_needs_no_client_certificate(
    tls_server: Server, certificates: Certificates
) -> None:
    assert tls_server.url.startswith("rediss://")
    with redis.Redis.from_url(tls_server.url, ssl_ca_certs=certificates.authority) as client:
        assert client.ping()


@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_a_missing_redis_server_skips_at_home_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr("tests.harness.engines.engines", lambda: ())
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt-get install redis-server"):
        requires_redis_server()
