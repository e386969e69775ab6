"""Flask-Session's own interface on the kit's connection: ``SESSION_BACKEND="flask-session"``.

The first step of a move, and the way back: byte for byte what Flask-Session does, with its races,
but on any server that the kit can reach, Cluster and Sentinel too.
"""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_session.base import ServerSideSessionInterface
from flask_session.redis import RedisSessionInterface as PeerInterface


class StockSessionInterface(PeerInterface):  # type: ignore[misc]  # it has no types
    """Flask-Session's interface with a client given by us.

    Its own ``__init__`` replaces a client that is no ``redis.Redis``, such as a Cluster's, by one
    to localhost.
    """

    def __init__(self, app: Flask, client: Any, **options: Any) -> None:
        self.client = client
        ServerSideSessionInterface.__init__(self, app, **options)
