"""Flask-Session's own interface on the kit's connection: ``SESSION_BACKEND="flask-session"``.

The first step of a move, and the way back: byte for byte what Flask-Session does, with its races
and its number of round trips, but on any server that the kit can reach, Cluster and Sentinel too.
"""

from __future__ import annotations

import warnings
from typing import Any

from flask import Flask
from flask_session.base import ServerSideSession, ServerSideSessionInterface
from flask_session.redis import RedisSessionInterface as PeerInterface

from flask_redis_kit.core.exchange import Command, Exchange, Reply, first
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.sessions.config import SessionsConfig

FEATURE = "sessions"

__all__ = ["ServerSideSession", "StockInterface", "stock_interface"]


class WireClient:
    """The three methods that Flask-Session needs of a client: replies are bytes, whatever the
    application chose for its own client, and its timeouts and its breaker are the kit's.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def get(self, name: str) -> Reply:
        """The value, None if there is none. One round trip."""
        return self._send(name, ("GET", name), read_only=True)

    def set(self, name: str, value: bytes, ex: int) -> Reply:
        """Store a value for ``ex`` seconds. One round trip."""
        return self._send(name, ("SET", name, value, "EX", max(1, ex)))

    def delete(self, name: str) -> Reply:
        """Remove a value. One round trip."""
        return self._send(name, ("DEL", name))

    def _send(self, name: str, command: Command, *, read_only: bool = False) -> Reply:
        return self._wire.send(
            Exchange(FEATURE, name, [command], first, read_only=read_only, idempotent=True)
        )


class StockInterface(PeerInterface):  # type: ignore[misc]  # it has no types
    """Flask-Session's interface with a client given by us.

    Its own ``__init__`` replaces a client that is no ``redis.Redis`` by one to localhost.
    """

    def __init__(self, app: Flask, client: WireClient, **options: Any) -> None:
        self.client = client
        ServerSideSessionInterface.__init__(self, app, **options)


def stock_interface(app: Flask, wire: Wire, config: SessionsConfig) -> StockInterface:
    """Flask-Session's interface with its settings, as its ``Session(app)`` makes it. No I/O."""
    with warnings.catch_warnings():
        # of SESSION_USE_SIGNER; it would come with every start of those who are about to leave
        warnings.simplefilter("ignore", DeprecationWarning)
        return StockInterface(
            app,
            WireClient(wire),
            key_prefix=config.key_prefix,
            use_signer=config.use_signer,
            permanent=True if config.permanent is None else config.permanent,
            sid_length=config.id_length,
            serialization_format=config.serialization_format,
        )
