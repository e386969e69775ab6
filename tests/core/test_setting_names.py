"""Errors name the setting that the user has: under the kit's prefix, and of the right server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from flask import Flask

from flask_redis_kit import RedisKit
from flask_redis_kit.core.errors import (
    ConnectTimeout,
    PoolExhausted,
    ReplyTimeout,
    ServerError,
    ServerRefused,
    ServerUnavailable,
)
from tests.harness.servers import Server

Start = Callable[..., Server]


class Provider(redis.CredentialProvider):
    def get_credentials(self) -> tuple[str, str]:
        raise LookupError("the vault is sealed")


def error_of(ask: Callable[[RedisKit], object], **settings: Any) -> ServerError:
    """What a kit with these settings raises, whose prefix is SHOP."""
    app = Flask("shop")
    app.config.update({f"SHOP_{name}": value for name, value in settings.items()})
    kit = RedisKit(app, config_prefix="SHOP")
    with app.app_context():
        try:
            with pytest.raises(ServerError) as caught:
                ask(kit)
        finally:
            kit.close()
    assert "REDIS_" not in str(caught.value)
    return caught.value


def of_client(kit: RedisKit) -> object:
    return kit.client.ping()


def of_cache(kit: RedisKit) -> object:
    return kit.cache.incr("n")


def test_a_server_that_is_not_there(own_server: Start) -> None:
    gone = own_server()
    gone.kill()
    for ask in (of_client, of_cache):
        error = error_of(ask, URL=gone.url)
        assert isinstance(error, ServerUnavailable)
        assert "set SHOP_URL to where it is, or set SHOP_URL=embedded://" in str(error)


def test_a_features_server_and_a_named_one_have_settings_of_their_own(own_server: Start) -> None:
    there, gone = own_server(), own_server()
    gone.kill()
    error = error_of(of_cache, URL=there.url, CACHE_URL=gone.url)
    assert "set SHOP_CACHE_URL to where it is" in str(error)
    error = error_of(
        lambda kit: kit.connection("reports").ping(), URL=there.url, DATABASES={"reports": gone.url}
    )
    assert "set SHOP_DATABASES['reports'] to where it is" in str(error)
    error = error_of(of_client, URL=gone.url, CACHE_URL=gone.url)
    assert "set SHOP_URL to where it is" in str(error)


def test_passwords_and_databases(own_server: Start) -> None:
    own = own_server()
    plain = f"redis://127.0.0.1:{own.port}"
    with own.client() as client:
        client.config_set("requirepass", "secret")
    wanted = error_of(of_client, URL=plain)
    assert isinstance(wanted, ServerRefused)
    assert "SHOP_USERNAME and SHOP_PASSWORD, or the user:password@ part of SHOP_URL." in str(wanted)
    wrong = error_of(of_cache, URL=plain, CACHE_URL=f"redis://:wrong@127.0.0.1:{own.port}")
    assert "Check the user and the password in SHOP_CACHE_URL." in str(wrong)
    other = own_server()
    assert "number in SHOP_DB or at the end of SHOP_URL" in str(
        error_of(of_client, URL=f"redis://127.0.0.1:{other.port}/77")
    )
    provided = error_of(of_client, URL=plain, OPTIONS={"credential_provider": Provider()})
    assert "The credential_provider of SHOP_OPTIONS gave no credentials" in str(provided)


def test_waits(own_server: Start) -> None:
    def after_a_pause(kit: RedisKit) -> object:
        kit.cache.incr("n")
        server.pause()
        try:
            return kit.cache.incr("n")
        finally:
            server.resume()

    def twice(kit: RedisKit) -> None:
        with ExitStack() as stack:
            for _ in range(2):
                stack.callback(kit.connector().pool.release, kit.connector().pool.get_connection())

    server = own_server()
    late = error_of(after_a_pause, URL=server.url, SOCKET_TIMEOUT=0.05)
    assert isinstance(late, ReplyTimeout)
    assert "SHOP_SOCKET_TIMEOUT sets the wait" in str(late)
    full = error_of(twice, URL=server.url, MAX_CONNECTIONS=1)
    assert isinstance(full, PoolExhausted)
    assert "Raise SHOP_MAX_CONNECTIONS" in str(full)
    server.pause()
    try:
        closed = error_of(of_client, URL=server.url, SOCKET_CONNECT_TIMEOUT=0.05)
    finally:
        server.resume()
    assert isinstance(closed, ConnectTimeout)
    assert "SHOP_SOCKET_CONNECT_TIMEOUT sets the wait" in str(closed)
    assert "set SHOP_URL=embedded://" in str(closed)
