"""Applications with sessions in the server under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from flask import Flask

from flask_redis_kit import RedisKit, RedisSessionInterface
from tests.harness.proxy import Proxy
from tests.sessions.shop import Shop, add_views

MakeShop = Callable[..., Shop]
# a busy machine is no fault of the server's
PATIENT = {
    "REDIS_SOCKET_TIMEOUT": 10,
    "REDIS_SOCKET_CONNECT_TIMEOUT": 10,
    "REDIS_POOL_TIMEOUT": 10,
}


@pytest.fixture
def make_shop() -> Iterator[MakeShop]:
    """Makes applications: ``make_shop(url, SESSION_COOKIE_SECURE=True)``; closed at the end."""
    shops: list[Shop] = []

    def make(
        url: str, *, name: str = "shop", kit: RedisKit | None = None, **config: object
    ) -> Shop:
        app = Flask(name)
        app.config.update(PATIENT | {"REDIS_URL": url} | config)
        kit = kit or RedisKit(features=("sessions",))
        kit.init_app(app)
        app.session_interface = RedisSessionInterface(kit)
        add_views(app, kit)
        shops.append(Shop(app, kit))
        return shops[-1]

    yield make
    for shop in shops:
        with shop.app.app_context():
            shop.kit.close()


@pytest.fixture
def shop(make_shop: MakeShop, redis_url: str) -> Shop:
    """An application straight on the server."""
    return make_shop(redis_url)


@pytest.fixture
def counted(make_shop: MakeShop, proxy: Proxy) -> Shop:
    """An application behind the counting proxy; connected, and its scripts known to the server."""
    shop = make_shop(proxy.url)
    client = shop.app.test_client()
    client.get("/set/warm/1")
    client.get("/set/warm/2")
    client.get("/set/another/1")
    client.get("/pop/another")
    client.get("/login/warm")
    client.get("/anew/warm")
    client.get("/clear")
    proxy.reset()
    return shop


@pytest.fixture
def stored(redis_client: redis.Redis) -> Callable[[], list[bytes]]:
    """The keys of the sessions that live on the server; tombstones are none."""

    def keys() -> list[bytes]:
        found = redis_client.scan_iter("frk:*:session:h")
        return [key for key in found if redis_client.hexists(key, b"\0c")]

    return keys
