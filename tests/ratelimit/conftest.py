"""Applications with rate limits, whose Redis is reached through the counting proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_redis_kit import RedisKit
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.ratelimit.limiter import Limiter
from tests.core.connecting import wire_to
from tests.harness.proxy import Proxy


class Limited(NamedTuple):
    """An application, its kit, and a client of it."""

    app: Flask
    kit: RedisKit
    client: FlaskClient

    def statuses(self, path: str, n: int, **options: Any) -> list[int]:
        """The answers to ``n`` requests."""
        return [self.client.get(path, **options).status_code for _ in range(n)]

    @property
    def limiter(self) -> Limiter:
        """The engine of this application."""
        with self.app.app_context():
            return self.kit.ratelimit.engine().limiter


MakeApp = Callable[..., Limited]


@pytest.fixture
def make_app(proxy: Proxy) -> Iterator[MakeApp]:
    """``make_app("shop", kit=None, REDIS_RATELIMIT_ON_ERROR="closed")``; warm: connected, the
    script known to the server, so that trips can be counted."""
    made: list[Limited] = []

    def make(name: str = "shop", kit: RedisKit | None = None, **settings: object) -> Limited:
        app = Flask(name)
        patient = {"REDIS_SOCKET_TIMEOUT": 10, "REDIS_POOL_TIMEOUT": 10}  # however busy the machine
        app.config.update({"REDIS_URL": proxy.url, **patient, **settings})
        kit = kit or RedisKit()
        kit.init_app(app)
        made.append(Limited(app, kit, app.test_client()))
        with app.app_context():
            kit.client.ping()
            if kit.state().contexts["ratelimit"].config.enabled:
                kit.ratelimit.peek(key="warm")
        return made[-1]

    yield make
    for each in made:
        with each.app.app_context():
            each.kit.close()


@pytest.fixture
def limited(make_app: MakeApp) -> Limited:
    """An application with the default settings."""
    return make_app()


@pytest.fixture
def wire(redis_url: str) -> Iterator[Wire]:
    """A wire straight to the server."""
    with wire_to(redis_url) as wire:
        yield wire
