"""``SESSION_BACKEND="flask-session"``: its own interface on the kit's connection, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask import Flask, session
from flask_session.base import ServerSideSession

from flask_redis_kit.core.exchange import Exchange, first
from tests.harness.proxy import Proxy
from tests.sessions.peer import Browser, new_worker, old_worker
from tests.sessions.shop import Shop

Stock = Callable[..., Shop]


@pytest.fixture
def stock(redis_url: str) -> Iterator[Stock]:
    shops: list[Shop] = []

    def make(url: str = redis_url, **config: Any) -> Shop:
        shops.append(new_worker(url, **{"SESSION_BACKEND": "flask-session"} | config))
        return shops[-1]

    yield make
    for shop in shops:
        with shop.app.app_context():
            shop.kit.close()


def everything(app: Flask, browser: Browser) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(browser.get(app, "/all"))
    return found


def test_it_is_flask_sessions_session_on_any_server(stock: Stock) -> None:
    shop, browser = stock(), Browser()
    browser.get(shop.app, "/set/a/1")
    assert everything(shop.app, browser) == {"_permanent": True, "a": "1"}
    with shop.app.test_request_context():
        assert isinstance(session._get_current_object(), ServerSideSession)  # type: ignore[attr-defined]
    browser.get(shop.app, "/clear")
    assert browser.cookie == ""


@pytest.mark.standalone("Flask-Session takes no client of a Cluster")
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"SESSION_SERIALIZATION_FORMAT": "json"},
        {"SESSION_USE_SIGNER": True},
        {"SESSION_ID_LENGTH": 20, "SESSION_KEY_PREFIX": "a:", "SESSION_PERMANENT": False},
    ],
)
def test_what_it_stores_is_what_flask_session_stores(
    stock: Stock, redis_url: str, redis_client: redis.Redis, config: dict[str, Any]
) -> None:
    peer, client = old_worker(redis_url, **config)
    shop, browser = stock(**config), Browser()
    browser.get(peer, "/login/7")
    assert everything(shop.app, browser)["user_id"] == "7"
    key = config.get("SESSION_KEY_PREFIX", "session:") + browser.cookie.partition(".")[0]
    stored, ttl = redis_client.get(key), redis_client.ttl(key)
    browser.get(peer, "/untouched")
    assert redis_client.get(key) == stored
    assert abs(redis_client.ttl(key) - ttl) <= 30
    browser.get(shop.app, "/set/a/1")
    assert everything(peer, browser)["a"] == "1"
    client.close()


def test_the_way_is_open_in_both_directions(stock: Stock) -> None:
    before, browser = stock(), Browser()
    browser.get(before.app, "/login/7")
    after = stock(SESSION_BACKEND="redis")
    assert everything(after.app, browser)["user_id"] == "7"
    assert everything(before.app, browser)["user_id"] == "7"


def test_other_features_share_the_request(stock: Stock, proxy: Proxy) -> None:
    shop = stock(proxy.url)

    @shop.app.get("/defer")
    def defer() -> str:
        exchange = Exchange("other", "x", [("SET", "x", "1", "EX", 60)], first)
        shop.kit.sessions.context().defer(exchange)
        return ""

    with proxy.counting() as count:
        Browser().get(shop.app, "/defer")
    assert [command[0] for command in count.commands] == [b"SET"]


@pytest.mark.parametrize("by", ["interface", "kit"])
def test_it_is_given_another_id_by_flask_session(
    stock: Stock, redis_client: redis.Redis, by: str
) -> None:
    shop, browser = stock(), Browser()

    @shop.app.get("/rotate")
    def rotate() -> str:
        who: Any = shop.app.session_interface if by == "interface" else shop.kit.sessions
        who.regenerate(session)
        return ""

    browser.get(shop.app, "/set/a/1")
    cookie = browser.cookie
    browser.get(shop.app, "/rotate")
    assert browser.cookie != cookie
    assert not redis_client.exists(f"session:{cookie}")
    assert everything(shop.app, browser)["a"] == "1"


def test_what_flask_session_has_not_says_so(stock: Stock) -> None:
    shop = stock()

    @shop.app.get("/exclusive")
    @shop.kit.sessions.exclusive()
    def exclusive() -> str:
        return ""

    shop.app.testing = True
    with pytest.raises(TypeError, match="Flask-Session has nothing like it"):
        shop.visitor().get("/exclusive")


def test_a_client_that_decodes_does_it_no_harm(stock: Stock) -> None:
    shop, browser = stock(REDIS_DECODE_RESPONSES=True), Browser()
    browser.get(shop.app, "/set/a/1")
    assert everything(shop.app, browser)["a"] == "1"
