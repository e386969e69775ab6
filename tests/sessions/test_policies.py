"""Settings: how long a session lives, what an outage does, and values that can't be right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from flask import session

from flask_redis_kit import ConfigError, RedisKit, RedisSessionInterface
from flask_redis_kit.sessions import RedisSession, session_interrupted
from flask_redis_kit.sessions.ids import digest_of
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.sessions.conftest import MakeShop
from tests.sessions.shop import Shop, set_cookies, sid_of

OwnServer = Callable[..., Server]
DAY = 86400


def age(redis_client: redis.Redis, key: str, seconds: float) -> None:
    """Let a session be that much older."""
    incarnation = redis_client.hget(key, "\0c")
    assert isinstance(incarnation, bytes)
    began = int(incarnation[:-8]) - int(seconds * 1e6)
    redis_client.hset(key, "\0c", str(began).encode() + incarnation[-8:])
    deadline = redis_client.hget(key, "\0a")
    if deadline is not None:
        redis_client.hset(key, "\0a", str(int(deadline) - int(seconds)))


# how long it lives


@pytest.mark.parametrize("idle", [120, "120", timedelta(minutes=2)])
def test_a_session_lives_for_the_idle_timeout_since_it_was_used(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis, idle: Any
) -> None:
    shop = make_shop(redis_url, SESSION_IDLE_TIMEOUT=idle)
    sid = shop.session_of(a=1)
    assert 100 < redis_client.ttl(shop.key(sid)) <= 120
    redis_client.expire(shop.key(sid), 60)
    shop.visitor(sid).get("/get/a")
    assert 100 < redis_client.ttl(shop.key(sid)) <= 120


def test_a_session_ends_at_its_deadline_however_much_it_is_used(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, SESSION_ABSOLUTE_TIMEOUT=1000, SESSION_IDLE_TIMEOUT=600)
    visitor = shop.visitor(shop.session_of(a=1))
    key = shop.key(sid_of(visitor))
    assert 580 < redis_client.ttl(key) <= 600
    age(redis_client, key, 700)
    for path in ("/get/a", "/set/a/2", "/set/b/2"):
        visitor.get(path)
        assert 280 < redis_client.ttl(key) <= 300
    visitor.get("/regenerate")
    assert 280 < redis_client.ttl(shop.key(sid_of(visitor))) <= 300
    visitor.get("/set/a/3")
    assert 280 < redis_client.ttl(shop.key(sid_of(visitor))) <= 300
    visitor.get("/login/7")  # somebody is there: the time begins anew
    assert 580 < redis_client.ttl(shop.key(sid_of(visitor))) <= 600


def test_a_deadline_is_the_servers_time_not_ours(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, SESSION_ABSOLUTE_TIMEOUT=1000)
    sid = shop.session_of(a=1)
    deadline = redis_client.hget(shop.key(sid), "\0a")
    assert deadline is not None
    assert -20 <= int(deadline) - redis_client.time()[0] - 1000 <= 1
    assert 980 < redis_client.ttl(shop.key(sid)) <= 1000


def test_an_absolute_timeout_takes_hold_of_sessions_that_are_there(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    before = make_shop(redis_url)
    young, old = before.session_of(a=1), before.session_of(a=1)
    age(redis_client, before.key(young), 600)
    age(redis_client, before.key(old), 2000)
    shop = make_shop(redis_url, SESSION_ABSOLUTE_TIMEOUT=1000)
    assert shop.visitor(young).get("/get/a").text == "1"
    assert 380 < redis_client.ttl(shop.key(young)) <= 400
    assert shop.visitor(old).get("/get/a").text == "None"


def test_an_old_id_is_replaced_when_it_is_used(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, SESSION_RENEW_AFTER=3600)
    visitor = shop.visitor(shop.session_of(a=1))
    sid = sid_of(visitor)
    visitor.get("/get/a")
    assert sid_of(visitor) == sid
    age(redis_client, shop.key(sid), 3700)
    visitor.get("/untouched")
    assert sid_of(visitor) == sid
    assert visitor.get("/get/a").text == "1"
    assert sid_of(visitor) != sid
    assert shop.read(sid) == {}
    again = sid_of(visitor)
    visitor.get("/get/a")
    assert sid_of(visitor) == again


def test_untouched_requests_prolong_if_so_wished_for_a_trip(
    make_shop: MakeShop, proxy: Proxy, redis_client: redis.Redis
) -> None:
    shop = make_shop(proxy.url, SESSION_TOUCH_UNTOUCHED=True, SESSION_ABSOLUTE_TIMEOUT=5 * DAY)
    sid = shop.session_of(a=1)
    shop.visitor(sid).get("/set/a/2")
    redis_client.expire(shop.key(sid), 100)
    with proxy.counting() as count:
        response = shop.visitor(sid).get("/untouched")
    assert count.trips == 1
    assert 4 * DAY < redis_client.ttl(shop.key(sid)) <= 5 * DAY
    assert set_cookies(response) == []
    assert "Vary" not in response.headers
    with proxy.counting() as count:
        shop.visitor("A" * 43).get("/untouched")
        shop.visitor().get("/untouched")
    assert count.trips == 1
    shop.visitor(sid).get("/login/7")
    shop.visitor(sid).get("/untouched")
    assert redis_client.ttl(shop.key(sid)) <= 60  # the mark of one that ended


def test_new_sessions_are_permanent_if_so_wished(make_shop: MakeShop, redis_url: str) -> None:
    shop = make_shop(redis_url, SESSION_PERMANENT=True)

    @shop.app.get("/for-now")
    def for_now() -> str:
        session.permanent = False
        session["a"] = 1
        return ""

    visitor = shop.visitor()
    visitor.get("/get/a")
    assert sid_of(visitor) == ""
    assert "Expires=later" in set_cookies(visitor.get("/set/a/1"))[0]
    assert shop.read(sid_of(visitor)) == {"a": "1", "_permanent": True}
    assert "Expires=later" in set_cookies(visitor.get("/anew/7"))[0]
    other = shop.visitor()
    assert "Expires" not in set_cookies(other.get("/for-now"))[0]
    assert "Expires" not in set_cookies(other.get("/login/7"))[0]


def test_ids_have_the_length_that_is_set_and_others_stay_good(
    make_shop: MakeShop, redis_url: str
) -> None:
    before = make_shop(redis_url).session_of(a=1)
    shop = make_shop(redis_url, SESSION_ID_LENGTH=16)
    visitor = shop.visitor(before)
    assert visitor.get("/get/a").text == "1"
    visitor.get("/login/7")
    assert len(sid_of(visitor)) == 22
    assert visitor.get("/get/a").text == "1"


def test_the_identity_may_lie_under_another_key(make_shop: MakeShop, redis_url: str) -> None:
    shop = make_shop(redis_url, SESSION_IDENTITY_KEYS="account, customer")
    visitor = shop.visitor(shop.session_of(a=1))
    before = sid_of(visitor)
    visitor.get("/login/7")
    assert sid_of(visitor) == before
    visitor.get("/set/customer/9")
    assert sid_of(visitor) != before
    with shop.app.app_context():
        assert len(shop.kit.sessions.list("9")) == 1
        assert shop.kit.sessions.list("7") == []


def test_a_session_whose_identity_key_was_named_later_gets_into_the_index(
    make_shop: MakeShop, redis_url: str
) -> None:
    sid = make_shop(redis_url).session_of(account=9, user_id=7)
    shop = make_shop(redis_url, SESSION_IDENTITY_KEYS=("account",))
    shop.visitor(sid).get("/set/a/1")
    with shop.app.app_context():
        (device,) = shop.kit.sessions.list(9)
    assert device.handle == digest_of(sid)


def test_no_store_can_be_switched_off(make_shop: MakeShop, redis_url: str) -> None:
    shop = make_shop(redis_url, SESSION_NO_STORE=False)
    assert "Cache-Control" not in shop.visitor().get("/set/a/1").headers


# outages


def test_an_anonymous_session_stands_in_and_touches_no_cookie(
    make_shop: MakeShop, own_server: OwnServer
) -> None:
    server = own_server()
    shop = make_shop(server.url, SESSION_ON_LOAD_ERROR="anonymous")

    @shop.app.get("/degraded")
    def degraded() -> str:
        found = session._get_current_object()  # type: ignore[attr-defined]
        assert isinstance(found, RedisSession)
        session["a"] = "not kept"
        return f"{session.get('user_id')} {session['a']} {found.degraded}"

    sid = shop.session_of(user_id=7, _permanent=True)
    server.kill()
    visitor = shop.visitor(sid)
    for path in (
        "/get/user_id",
        "/set/a/1",
        "/login/8",
        "/regenerate",
        "/pop/user_id",
        "/modified",
    ):
        response = visitor.get(path)
        assert response.status_code == 200, path
        assert set_cookies(response) == []
    assert visitor.get("/degraded").text == "None not kept True"
    assert sid_of(visitor) == sid


def test_a_logout_that_can_not_be_done_is_an_error_also_where_sessions_are_anonymous(
    make_shop: MakeShop, own_server: OwnServer
) -> None:
    server = own_server()
    shop = make_shop(server.url, SESSION_ON_LOAD_ERROR="anonymous")
    sid = shop.session_of(user_id=7)
    server.kill()
    response = shop.visitor(sid).get("/read-and-clear")
    assert response.status_code == 500
    assert set_cookies(response) == []


def test_what_can_not_be_stored_may_be_dropped(make_shop: MakeShop, own_server: OwnServer) -> None:
    server = own_server()
    shop = make_shop(server.url, SESSION_ON_SAVE_ERROR="drop")
    told: list[str] = []

    def note(_: object, session: str, reason: str) -> None:
        told.append(reason)

    sid = shop.session_of(a=1)
    with server.client() as client, session_interrupted.connected_to(note):
        client.config_set("maxmemory", "1")
        for path in ("/set/a/2", "/login/7", "/regenerate"):
            response = shop.visitor(sid).get(path)
            assert response.status_code == 200, path
            assert set_cookies(response) == [], path
        response = shop.visitor().get("/set/a/2")
        assert response.status_code == 200
        assert set_cookies(response) == []
        client.config_set("maxmemory", "0")
    assert told == ["unavailable"] * 4
    assert shop.read(sid) == {"a": 1}  # a rotation that failed leaves the old session


def test_a_rotation_on_a_full_server_leaves_the_old_session(
    make_shop: MakeShop, own_server: OwnServer
) -> None:
    server = own_server()
    shop = make_shop(server.url)
    sid = shop.session_of(user_id="7")
    with server.client() as client:
        client.config_set("maxmemory", "1")
        for path in ("/login/8", "/regenerate"):
            assert shop.visitor(sid).get(path).status_code == 500
        client.config_set("maxmemory", "0")
    assert shop.read(sid) == {"user_id": "7"}
    with shop.app.app_context():
        assert len(shop.kit.sessions.list("7")) == 1


def test_an_outage_costs_a_request_its_timeout_once(make_shop: MakeShop, proxy: Proxy) -> None:
    shop = make_shop(proxy.url, REDIS_SOCKET_TIMEOUT=0.5)
    sid = shop.session_of(a=1)
    proxy.drop_replies()
    with proxy.counting() as count:
        assert shop.visitor(sid).get("/set/a/2").status_code == 503
    proxy.restore()
    assert count.trips == 1  # nobody waits for a second one


# wrong values


@pytest.mark.parametrize(
    ("key", "value", "cure"),
    [
        ("SESSION_IDLE_TIMEOUT", 0, "1 or more"),
        ("SESSION_IDLE_TIMEOUT", "soon", "number"),
        ("SESSION_ABSOLUTE_TIMEOUT", -5, "1 or more"),
        ("SESSION_RENEW_AFTER", 0, "1 or more"),
        ("SESSION_MAX_PER_USER", 0, "1 or more"),
        ("SESSION_MAX_PER_USER", 1.5, "whole number"),
        ("SESSION_ID_LENGTH", 15, "16 to 64"),
        ("SESSION_ID_LENGTH", 65, "16 to 64"),
        ("SESSION_IDENTITY_KEYS", "a,,b", "keys of the session"),
        ("SESSION_ON_LOAD_ERROR", "ignore", "'raise', 'anonymous'"),
        ("SESSION_ON_SAVE_ERROR", "ignore", "'raise', 'drop'"),
        ("SESSION_ON_INTERRUPT", "ignore", "'drop', 'raise'"),
        ("SESSION_PERMANENT", "maybe", "true or false"),
        ("SESSION_REFRESH_EACH_REQUEST", "maybe", "true or false"),
    ],
)
def test_a_wrong_setting_is_named_with_its_cure(
    make_shop: MakeShop, redis_url: str, key: str, value: object, cure: str
) -> None:
    with pytest.raises(ConfigError, match=key) as caught:
        make_shop(redis_url, **{key: value})
    assert caught.value.key == key
    assert cure in str(caught.value)


def test_an_idle_timeout_beyond_the_absolute_one_is_refused(
    make_shop: MakeShop, redis_url: str
) -> None:
    with pytest.raises(ConfigError, match="SESSION_ABSOLUTE_TIMEOUT"):
        make_shop(redis_url, SESSION_IDLE_TIMEOUT=100, SESSION_ABSOLUTE_TIMEOUT=50)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"SESSION_COOKIE_NAME": "__Host-a"}, "SESSION_COOKIE_NAME"),
        ({"SESSION_COOKIE_NAME": "__Secure-a"}, "SESSION_COOKIE_NAME"),
        (
            {
                "SESSION_COOKIE_NAME": "__Host-a",
                "SESSION_COOKIE_SECURE": True,
                "SESSION_COOKIE_DOMAIN": "shop.example",
            },
            "SESSION_COOKIE_NAME",
        ),
        (
            {
                "SESSION_COOKIE_NAME": "__HOST-a",
                "SESSION_COOKIE_SECURE": True,
                "APPLICATION_ROOT": "/shop",
            },
            "SESSION_COOKIE_NAME",
        ),
        ({"SESSION_COOKIE_SAMESITE": "None"}, "SESSION_COOKIE_SAMESITE"),
    ],
)
def test_a_cookie_that_browsers_drop_is_an_error_at_the_first_request(
    make_shop: MakeShop, redis_url: str, config: dict[str, object], key: str
) -> None:
    shop = make_shop(redis_url, **config)
    shop.app.testing = True
    with pytest.raises(ConfigError, match="Cure: set") as caught:
        shop.visitor().get("/untouched")
    assert caught.value.key == key
    with shop.app.app_context():
        feature = shop.kit.sessions
        assert any(key in warning for warning in feature.warnings(feature.context()))


def test_cookies_that_others_can_read_or_cause_are_warned_of(
    make_shop: MakeShop, redis_url: str
) -> None:
    def warned(shop: Shop) -> str:
        with shop.app.app_context():
            return " ".join(shop.kit.sessions.warnings(shop.kit.sessions.context()))

    careless = warned(make_shop(redis_url))
    assert "SESSION_COOKIE_SECURE=True" in careless
    assert "SESSION_COOKIE_SAMESITE='Lax'" in careless
    careful = make_shop(redis_url, SESSION_COOKIE_SECURE=True, SESSION_COOKIE_SAMESITE="Strict")
    assert "SESSION_COOKIE" not in warned(careful)


def test_an_application_with_flasks_own_sessions_is_not_told_about_cookies(redis_url: str) -> None:
    from flask import Flask

    app = Flask("own")
    app.config.update(REDIS_URL=redis_url, SESSION_COOKIE_NAME="__Host-a")
    kit = RedisKit(app, features=("sessions",))
    with app.app_context():
        assert list(kit.sessions.warnings(kit.sessions.context())) == []
        kit.sessions.engine()
        kit.close()
    assert not isinstance(app.session_interface, RedisSessionInterface)
