"""Workers that run the real Flask-Session, next to some of ours on the same server."""

from __future__ import annotations

import warnings
from typing import Any

import redis
from flask import Flask, session
from flask.testing import FlaskClient
from flask_session import Session

from flask_redis_kit import RedisKit, RedisSessionInterface
from tests.harness.topologies import client_of
from tests.sessions.shop import Shop, add_simple_views

SECRET = "secret"


class Browser:
    """Somebody whose requests go to this worker or to that, with the cookie he has."""

    def __init__(self) -> None:
        self.cookie = ""

    def get(self, app: Flask, path: str) -> str:
        """One request; keeps the cookie that comes with the answer."""
        client = app.test_client()
        if self.cookie:
            client.set_cookie("session", self.cookie)
        response = client.get(path)
        assert response.status_code == 200, response.text
        self.cookie = cookie_of(client)
        return response.text


def cookie_of(client: FlaskClient) -> str:
    """The cookie that a browser has; empty if it has none."""
    cookie = client.get_cookie("session")
    return "" if cookie is None else cookie.value


def old_worker(url: str, **config: Any) -> tuple[Flask, redis.Redis]:
    """An application with Flask-Session, as it is without the kit; and its client."""
    app = Flask("moving")
    app.secret_key = SECRET
    client = client_of(url)
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client, **config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the signer
        Session(app)
    _add_views(app)
    return app, client


def new_worker(url: str, **config: Any) -> Shop:
    """The same application after the move: only the interface is another one."""
    app = Flask("moving")
    app.secret_key = SECRET
    app.config.update({"REDIS_URL": url, "SESSION_TYPE": "redis"} | config)
    kit = RedisKit(app, features=("sessions",))
    app.session_interface = RedisSessionInterface(kit)
    _add_views(app)
    return Shop(app, kit)


def _add_views(app: Flask) -> None:
    add_simple_views(app)

    @app.get("/all")
    def all_() -> dict[str, Any]:
        return dict(session)
