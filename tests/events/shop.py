"""An application with a stream endpoint, and a real WSGI server for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, request
from werkzeug.serving import make_server

from flask_redis_kit import RedisKit
from flask_redis_kit.events.engine import EventsEngine


def make_app(url: str, kit: RedisKit, name: str = "shop", **settings: object) -> Flask:
    """``/events?user=…&channel=…&channel=…`` streams these; ``settings`` without REDIS_EVENTS_."""
    app = Flask(name)
    app.config["REDIS_URL"] = url
    app.config.update({f"REDIS_EVENTS_{key.upper()}": value for key, value in settings.items()})
    kit.init_app(app)

    @app.get("/events")
    def events() -> Response:
        channels = request.args.getlist("channel")
        return kit.events.stream(user=request.args.get("user"), channels=channels)

    @app.get("/other")
    def other() -> str:
        return "here"

    return app


class Shop:
    """One application and its kit; ``settings`` as for ``make_app``."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.kit = RedisKit(features=("events",))
        self.app = make_app(url, self.kit, **settings)

    @property
    def engine(self) -> EventsEngine:
        """The engine of its events."""
        with self.app.app_context():
            return self.kit.events.engine()

    def publish(self, channel: str, n: object, type: str = "made") -> str:  # noqa: A002
        """Publish ``n``; the id."""
        with self.app.app_context():
            return self.kit.events.publish(channel, type, n).id

    def close(self) -> None:
        """End its streams and connections."""
        with self.app.app_context():
            self.kit.close()


@contextmanager
def serving(app: Flask, *, threaded: bool = True) -> Iterator[int]:
    """Serve an application over HTTP; gives the port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=threaded)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
