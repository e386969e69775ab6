"""Every way in which a server can't be reached has its own clear error, without a secret in it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import pytest
import redis

from flask_redis_kit.core.errors import (
    ServerRefused,
    ServerTooOld,
    ServerUnavailable,
)
from tests.core.connecting import get, put, wire_to
from tests.harness.certificates import Certificates
from tests.harness.proxy import Proxy
from tests.harness.servers import Engine, Server, free_port


def failure_at(url: str, **core: object) -> Exception:
    with wire_to(url, **core) as wire:
        error = wire.send_many([get("a")])[0].error
        assert error is not None
        with pytest.raises(type(error)):
            wire.connector.client.get("a")  # the user's own client says the same
        assert "sesame" not in repr(wire.connector.settings)
        assert "sesame" not in repr(wire.connector.pool)
    assert "sesame" not in str(error)
    return error


def test_a_missing_server_is_named_with_the_cure_within_a_second() -> None:
    port = free_port()
    times = []
    for _ in range(3):  # of which a busy machine may spoil two
        started = time.monotonic()
        error = failure_at(f"redis://:sesame@127.0.0.1:{port}/0")
        times.append(time.monotonic() - started)
    assert min(times) < 1  # the issue's own bound, not a measure of speed
    assert isinstance(error, ServerUnavailable)
    assert f"127.0.0.1:{port}" in str(error)
    assert "REDIS_URL=embedded://" in str(error)


def test_a_missing_unix_socket_is_named(tmp_path: object) -> None:
    error = failure_at(f"unix://{tmp_path}/none.sock")
    assert "none.sock" in str(error)
    assert "REDIS_URL=embedded://" in str(error)


def test_a_host_name_that_does_not_resolve_is_named() -> None:
    error = failure_at("redis://no-such-host.invalid:6379/0")
    assert "no-such-host.invalid" in str(error)
    assert "can't be resolved" in str(error)


def test_a_wrong_password_is_refused_with_the_cure(own_server: Callable[..., Server]) -> None:
    server = own_server(password="open")
    error = failure_at(f"redis://:sesame@127.0.0.1:{server.port}/0")
    assert isinstance(error, ServerRefused)
    assert "REDIS_PASSWORD" in str(error)


def test_a_missing_password_is_told_apart(own_server: Callable[..., Server]) -> None:
    server = own_server(password="open")
    error = failure_at(f"redis://127.0.0.1:{server.port}/0")
    assert isinstance(error, ServerRefused)
    assert "password" in str(error)


def test_a_database_that_does_not_exist_is_named(server: Server) -> None:
    error = failure_at(f"redis://127.0.0.1:{server.port}/99")
    assert isinstance(error, ServerRefused)
    assert "99" in str(error)


@pytest.mark.parametrize(("engine_name", "old"), [("redis", "6.2.14"), ("valkey", "7.1.9")])
def test_a_server_that_is_too_old_is_refused(
    own_server: Callable[..., Server], any_engine: Engine, engine_name: str, old: str
) -> None:
    if any_engine.name != engine_name:
        return
    server = own_server(engine=any_engine)
    with server.client() as client:
        version = client.info("server")[f"{engine_name}_version"]
    with Proxy(server.socket_path) as proxy:
        proxy.rewrite(*(f"${len(each)}\r\n{each}\r\n".encode() for each in (version, old)))
        error = failure_at(proxy.url)
    assert isinstance(error, ServerTooOld), error
    assert f"{engine_name} {old}" in str(error)


def test_a_server_that_never_says_hello_is_told_from_one_that_is_gone(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    server.pause()
    error = failure_at(server.url, socket_timeout=0.1, socket_connect_timeout=0.1)
    assert isinstance(error, ServerUnavailable)
    assert "in time" in str(error)


@pytest.mark.tls
def test_tls_works_with_the_right_authority(tls_server: Server, certificates: Certificates) -> None:
    url = f"rediss://localhost:{tls_server.port}/0?ssl_ca_certs={certificates.authority}"
    with wire_to(url) as wire:
        assert wire.send(put("a", "1")) == b"OK"
        assert wire.connector.client.get("a") == b"1"


@pytest.mark.tls
def test_an_untrusted_certificate_names_the_option(tls_server: Server) -> None:
    error = failure_at(f"rediss://localhost:{tls_server.port}/0")
    assert isinstance(error, ServerRefused)
    assert "ssl_ca_certs" in str(error)


@pytest.mark.tls
def test_a_certificate_for_another_name_says_so(
    tls_server: Server, certificates: Certificates
) -> None:
    error = failure_at(f"rediss://127.1:{tls_server.port}/0?ssl_ca_certs={certificates.authority}")
    assert isinstance(error, ServerRefused)
    assert "the certificate is for another name" in str(error)
    assert "ssl_check_hostname=false" in str(error)


@pytest.mark.tls
def test_plain_text_to_a_tls_server_asks_for_rediss(tls_server: Server) -> None:
    error = failure_at(f"redis://localhost:{tls_server.port}/0")
    assert "rediss://" in str(error)


@pytest.mark.tls
def test_tls_to_a_plain_server_asks_for_redis(server: Server) -> None:
    error = failure_at(f"rediss://127.0.0.1:{server.port}/0", socket_timeout=1.0)
    assert "does it speak TLS" in str(error)


def test_the_blocking_client_waits_longer_than_the_reply_timeout(server: Server) -> None:
    with wire_to(server.url, socket_timeout=0.05) as wire:
        assert wire.connector.blocking.blpop(["nothing"], timeout=0.3) is None
        with pytest.raises(redis.TimeoutError):
            wire.connector.client.blpop(["nothing"], timeout=0.3)


def test_the_server_knows_the_kit_by_name(server: Server) -> None:
    with wire_to(server.url, client_name="shop") as wire:
        wire.send(get("a"))
        listed = wire.connector.client.client_list()
    assert any("flask-redis-kit" in each["lib-name"] and each["name"] == "shop" for each in listed)


def test_options_of_the_url_beat_flat_keys_which_beat_redis_options(server: Server) -> None:
    core = {
        "options": {"socket_timeout": 3, "health_check_interval": 7, "max_connections": 9},
        "socket_timeout": 2.0,
    }
    with warnings.catch_warnings(), wire_to(f"{server.url}?max_connections=4", **core) as wire:
        settings = wire.connector.settings
    assert settings.socket_timeout == 2.0
    assert settings.health_check_interval == 7
    assert settings.max_connections == 4
