"""Applications with a cache, closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from flask_redis_kit import RedisKit
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

MakeKit = Callable[..., RedisKit]


@pytest.fixture
def make_kit(server: Server) -> Iterator[MakeKit]:
    """``make_kit(url, **config)``: a kit on an application of its own, ``kit.state().app``.

    It is closed, and has written what it counted, before ``server`` is emptied.
    """
    made: list[tuple[Flask, RedisKit]] = []

    def make(
        url: str, *, name: str = "shop", features: tuple[str, ...] = ("cache",), **config: object
    ) -> RedisKit:
        app = Flask(name)
        app.secret_key = "of tests"
        app.config.update(REDIS_URL=url, **config)
        kit = RedisKit(app, features=features)
        made.append((app, kit))
        return kit

    yield make
    for app, kit in made:
        with app.app_context():
            kit.close()


@pytest.fixture
def kit(make_kit: MakeKit, proxy: Proxy) -> RedisKit:
    """A kit that talks to the server through ``proxy``."""
    return make_kit(proxy.url)


@pytest.fixture
def app(kit: RedisKit) -> Flask:
    """The application of ``kit``."""
    return kit.state().app


@pytest.fixture
def warmed(kit: RedisKit) -> RedisKit:
    """``kit``, on a server that knows the scripts and has a log."""
    kit.cache.invalidate_tags("warm")
    kit.cache.set("warm", 1)
    kit.cache.add("warm", 1)
    kit.cache.touch("warm", 1)
    kit.cache.has("warm")
    kit.cache.incr("warm")
    kit.cache.cache_result("warm")(lambda: None)()
    with pytest.raises(ZeroDivisionError):
        kit.cache.cache_result("fails")(lambda: 1 // 0)()
    kit.cache.clear()
    kit.cache.get("warm")
    return kit
