"""TLS with client certificates: what works, and what each mistake is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask

from flask_redis_kit import CircuitOpen, ConfigError, RedisKit, ServerError, ServerUnavailable
from flask_redis_kit.core.errors import ServerRefused
from tests.core.connecting import get, put, wire_to
from tests.harness.certificates import Certificate, Certificates
from tests.harness.servers import Server, requires_redis_server

pytestmark = pytest.mark.tls


@pytest.fixture
def strict_server(certificates: Certificates) -> Iterator[Server]:
    """A server that lets in only clients with a certificate of its authority."""
    engine = requires_redis_server(tls=True)
    with Server(engine, tls=certificates.server, tls_client_certificates=True) as server:
        yield server


def url_of(server: Server, **options: object) -> str:
    query = "&".join(f"{name}={quote(str(value))}" for name, value in options.items())
    return f"rediss://localhost:{server.port}/0?{query}"


def failure_at(url: str) -> ServerError:
    with wire_to(url) as wire:
        error = wire.send_many([get("a")])[0].error
        assert isinstance(error, ServerError)
        with pytest.raises(type(error)):
            wire.connector.client.get("a")
    return error


def test_a_client_certificate_lets_in(strict_server: Server, certificates: Certificates) -> None:
    own = certificates.client
    url = url_of(
        strict_server,
        ssl_ca_certs=certificates.authority,
        ssl_certfile=own.certificate,
        ssl_keyfile=own.key,
    )
    with wire_to(url) as wire:
        assert wire.send(put("a", "1")) == b"OK"
        assert wire.connector.client.get("a") == b"1"
        assert wire.connector.blocking.get("a") == b"1"


def test_without_one_the_options_are_named(
    strict_server: Server, certificates: Certificates
) -> None:
    error = failure_at(url_of(strict_server, ssl_ca_certs=certificates.authority))
    assert "wants a client certificate: give ssl_certfile and ssl_keyfile" in str(error)


def test_a_certificate_of_a_stranger_is_told_from_a_missing_one(
    strict_server: Server, certificates: Certificates, tmp_path: Path
) -> None:
    stranger = Certificates.make(tmp_path).client
    error = failure_at(
        url_of(
            strict_server,
            ssl_ca_certs=certificates.authority,
            ssl_certfile=stranger.certificate,
            ssl_keyfile=stranger.key,
        )
    )
    assert "trust the" in str(error)
    assert "ssl_certfile" in str(error)


# options of the URL; of the certificates the names here stand for
MISTAKES: list[tuple[dict[str, str], str]] = [
    ({"ssl_ca_certs": "stranger.crt"}, "the certificate can't be trusted"),
    ({"ssl_ca_certs": "no-such.crt"}, "no-such.crt', which is not there or can't be read"),
    ({"ssl_ca_path": "no-such"}, "no-such', which is not there"),
    ({"ssl_ca_certs": "client.key"}, "ssl_ca_certs holds no certificate"),
    ({"ssl_certfile": "no-such.crt", "ssl_keyfile": "client.key"}, "ssl_certfile is '"),
    (
        {"ssl_certfile": "client.crt", "ssl_keyfile": "server.key"},
        "ssl_keyfile is not the key of the certificate in ssl_certfile",
    ),
    ({"ssl_ciphers": "NONSENSE"}, "ssl_ciphers names none that is known here"),
]


@pytest.mark.parametrize(("mistake", "said"), MISTAKES)
def test_a_mistake_is_named(
    mistake: dict[str, str], said: str, strict_server: Server, certificates: Certificates
) -> None:
    directory = Path(certificates.authority).parent
    options = {"ssl_ca_certs": certificates.authority}
    options |= {
        name: value if name == "ssl_ciphers" else str(directory / value)
        for name, value in mistake.items()
    }
    error = failure_at(url_of(strict_server, **options))
    assert isinstance(error, ServerRefused)
    assert said in str(error)
    assert f"TLS to localhost:{strict_server.port}" in str(error)


def test_a_server_that_breaks_off_counts_as_away(
    strict_server: Server, certificates: Certificates
) -> None:
    """It may be one that is being restarted: the circuit has to open."""
    with wire_to(url_of(strict_server, ssl_ca_certs=certificates.authority)) as wire:
        errors = [wire.send_many([get("a")])[0].error for _ in range(4)]
    assert all(isinstance(error, ServerUnavailable) for error in errors)
    assert isinstance(errors[-1], CircuitOpen)


def make_kit(**settings: Any) -> tuple[Flask, RedisKit]:
    app = Flask("shop")
    app.config.update(settings)
    return app, RedisKit(app)


def flat(server: Server, authority: str, own: Certificate, **options: Any) -> dict[str, Any]:
    return {
        "REDIS_HOST": "localhost",
        "REDIS_PORT": str(server.port),
        "REDIS_SSL": "true",
        "REDIS_OPTIONS": {
            "ssl_ca_certs": authority,
            "ssl_certfile": own.certificate,
            "ssl_keyfile": own.key,
            **options,
        },
    }


def test_flat_keys_and_options_do_the_same_as_a_url(
    strict_server: Server, certificates: Certificates
) -> None:
    typed = {"ssl_min_version": "1.2", "ssl_check_hostname": "yes"}  # as in a URL
    settings = flat(strict_server, certificates.authority, certificates.client, **typed)
    _app, kit = make_kit(**settings)
    assert kit.client.set("a", "1", ex=10)
    kit.close()


def test_options_of_tls_without_tls_are_refused_for_the_own_server_and_left_out_for_others(
    strict_server: Server, certificates: Certificates, server: Server
) -> None:
    settings = flat(strict_server, certificates.authority, certificates.client)
    with pytest.raises(ConfigError) as caught:
        make_kit(**{**settings, "REDIS_SSL": "false"})
    assert "REDIS_OPTIONS['ssl_ca_certs'] needs TLS" in str(caught.value)
    assert "REDIS_SSL=true" in str(caught.value)
    app, kit = make_kit(
        **settings,
        REDIS_CACHE_URL=server.url,
        REDIS_DATABASES={"plain": server.unix_url, "scratch": 1},
    )
    with app.app_context():
        assert kit.cache.set("a", 1, ttl=10)
        assert kit.cache.get("a") == 1
        assert kit.connection("plain").ping()
        assert kit.connection("scratch").set("a", "1", ex=10)  # on the own server, with TLS
        assert all(found.ok for found in kit.health())
        kit.close()


def test_an_option_of_the_wrong_type_is_named_at_init_app() -> None:
    with pytest.raises(ConfigError) as caught:
        make_kit(REDIS_SSL=True, REDIS_OPTIONS={"ssl_min_version": "9"})
    assert "REDIS_OPTIONS: Option 'ssl_min_version' must be a version of TLS" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "key"), [("ssl", "REDIS_SSL"), ("host", "REDIS_HOST"), ("port", "REDIS_PORT")]
)
def test_what_has_a_key_of_its_own_is_no_option(option: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"use {key} or REDIS_URL"):
        make_kit(REDIS_OPTIONS={option: 1})
