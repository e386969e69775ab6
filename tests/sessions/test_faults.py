"""Servers that are away, keys that are not ours, bytes that can't be read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from flask import session

from flask_redis_kit import ServerUnavailable
from flask_redis_kit.core import signals
from flask_redis_kit.sessions import SessionStoreUnavailable
from flask_redis_kit.sessions.ids import digest_of
from flask_redis_kit.sessions.signals import session_unreadable
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.sessions.conftest import MakeShop
from tests.sessions.shop import Shop, set_cookies, sid_of

OwnServer = Callable[..., Server]


@pytest.fixture
def away(make_shop: MakeShop, own_server: OwnServer) -> tuple[Shop, str]:
    """A shop whose server is gone, and the id of a session that it had."""
    server = own_server()
    shop = make_shop(server.url)
    sid = shop.session_of(a=1)
    server.kill()
    return shop, sid


def test_without_a_server_untouched_requests_work(away: tuple[Shop, str]) -> None:
    shop, sid = away
    response = shop.visitor(sid).get("/untouched")
    assert response.status_code == 200
    assert set_cookies(response) == []


def test_without_a_server_requests_that_only_set_permanent_work(away: tuple[Shop, str]) -> None:
    shop, sid = away
    response = shop.visitor(sid).get("/permanent")
    assert response.status_code == 200
    assert set_cookies(response) == []


@pytest.mark.parametrize("path", ["/get/a", "/set/a/2", "/login/7", "/regenerate", "/flash/x"])
def test_without_a_server_using_a_session_is_a_503(away: tuple[Shop, str], path: str) -> None:
    shop, sid = away
    response = shop.visitor(sid).get(path)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert set_cookies(response) == []
    assert "127.0.0.1" not in response.text


@pytest.mark.parametrize(
    "handled", [redis.RedisError, redis.ConnectionError, ServerUnavailable, 503]
)
def test_a_missing_server_is_seen_by_the_applications_handlers(
    away: tuple[Shop, str], handled: type[Exception] | int
) -> None:
    shop, sid = away
    seen: list[Exception] = []

    @shop.app.errorhandler(handled)
    def excuse(error: Exception) -> tuple[str, int]:
        seen.append(error)
        return "back soon", 503

    response = shop.visitor(sid).get("/get/a")
    assert response.text == "back soon"
    assert set_cookies(response) == []
    (error,) = seen
    assert isinstance(error, SessionStoreUnavailable)
    assert isinstance(error.__cause__, ServerUnavailable)
    assert "127.0.0.1" in str(error)


def test_a_view_may_do_without_a_session_that_cannot_be_read(away: tuple[Shop, str]) -> None:
    shop, sid = away

    @shop.app.get("/tries")
    def tries() -> str:
        for _ in range(3):
            try:
                session.get("a")
            except SessionStoreUnavailable:
                continue
        return "without"

    response = shop.visitor(sid).get("/tries")
    assert response.status_code == 200
    assert response.text == "without"
    assert set_cookies(response) == []


def test_a_login_that_was_not_stored_does_not_look_like_one(away: tuple[Shop, str]) -> None:
    shop, _ = away
    response = shop.visitor().get("/login/7")
    assert response.status_code == 500
    assert set_cookies(response) == []


def test_a_failed_save_is_tried_once(away: tuple[Shop, str]) -> None:
    shop, _ = away
    trips: list[object] = []

    def note(_: object, **facts: object) -> None:
        trips.append(facts)

    with signals.trip.connected_to(note):
        assert shop.visitor().get("/set/a/1").status_code == 500
    assert len(trips) == 1


def test_a_failed_logout_is_an_error_and_deletes_the_cookie(away: tuple[Shop, str]) -> None:
    shop, sid = away
    visitor = shop.visitor(sid)
    response = visitor.get("/clear")
    assert response.status_code == 500
    assert sid_of(visitor) == ""


@pytest.mark.parametrize(("then", "status"), [("read", 200), ("write", 500), ("login", 500)])
def test_a_server_that_goes_in_the_middle(
    make_shop: MakeShop, own_server: OwnServer, then: str, status: int
) -> None:
    server = own_server()
    shop = make_shop(server.url)

    @shop.app.get("/middle")
    def middle() -> str:
        found = session["a"]
        server.kill()
        if then != "read":
            session["a" if then == "write" else "user_id"] = 2
        return str(found)

    sid = shop.session_of(a=1, _permanent=True)
    with server.client() as client:
        client.expire(shop.key(sid), 10)  # so that a read prolongs it
    response = shop.visitor(sid).get("/middle")
    assert response.status_code == status
    assert set_cookies(response) == []


def test_a_full_server_is_an_error_at_the_save_and_a_logout_still_works(
    make_shop: MakeShop, own_server: OwnServer
) -> None:
    server = own_server()
    shop = make_shop(server.url)
    sid = shop.session_of(a=1)
    with server.client() as client:
        client.config_set("maxmemory", "1")
        assert shop.visitor(sid).get("/get/a").text == "1"
        assert shop.visitor(sid).get("/set/a/2").status_code == 500
        assert shop.visitor().get("/set/a/2").status_code == 500
        assert shop.visitor(sid).get("/clear").status_code == 200
        client.config_set("maxmemory", "0")
    assert shop.read(sid) == {}


def test_a_rotation_whose_reply_was_lost_is_sent_again_and_counts(
    make_shop: MakeShop, proxy: Proxy
) -> None:
    shop = make_shop(proxy.url)

    @shop.app.get("/cut")
    def cut() -> str:
        session["b"] = 2
        shop.kit.sessions.regenerate(session)
        proxy.cut_after(1)
        return ""

    old = shop.session_of(a=1)
    visitor = shop.visitor(old)
    visitor.get("/set/c/3")
    shop.visitor(shop.session_of(x=1)).get("/regenerate")  # the scripts are known
    assert visitor.get("/cut").status_code == 200
    assert sid_of(visitor) != old
    assert shop.read(sid_of(visitor)) == {"a": 1, "b": 2, "c": "3"}
    assert shop.read(old) == {}


def test_a_late_reply_at_the_save_is_an_error(make_shop: MakeShop, proxy: Proxy) -> None:
    shop = make_shop(proxy.url, REDIS_SOCKET_TIMEOUT=1.5)

    @shop.app.get("/hang")
    def hang() -> str:
        session["b"] = 2
        proxy.drop_replies(1)
        return ""

    visitor = shop.visitor(shop.session_of(a=1))
    assert visitor.get("/hang").status_code == 500


def test_a_field_that_cannot_be_read_is_absent_and_told_once(
    shop: Shop, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, str | None]] = []

    def note(_: object, session: str, field: str | None, error: Exception) -> None:
        told.append((session, field))

    sid = shop.session_of(a=1, user_id=7)
    redis_client.hset(shop.key(sid), "user_id", b"\x80\x04pickled")
    visitor = shop.visitor(sid)
    with session_unreadable.connected_to(note):
        assert visitor.get("/get/user_id").text == "None"
        assert visitor.get("/get/user_id").text == "None"
    assert visitor.get("/get/a").text == "1"
    assert visitor.get("/set/b/2").status_code == 200
    assert redis_client.hget(shop.key(sid), "user_id") == b"\x80\x04pickled"
    assert caplog.text.count("unreadable field 'user_id'") == 1
    assert told == [(digest_of(sid), "user_id")] * 2


@pytest.mark.parametrize("path", ["/get/a", "/set/a/2", "/clear", "/login/7", "/regenerate"])
def test_a_key_that_holds_something_else_is_no_session(
    shop: Shop, redis_client: redis.Redis, path: str
) -> None:
    sid = shop.session_of(a=1)
    redis_client.set(shop.key(sid), "a string", ex=100)
    visitor = shop.visitor(sid)
    assert visitor.get(path).status_code == 200
    assert redis_client.getdel(shop.key(sid)) == b"a string"
    visitor.get("/set/b/3")
    assert visitor.get("/get/b").text == "3"
    assert sid_of(visitor) != sid


@pytest.mark.parametrize("lost", ["\0c", None])
def test_what_is_left_of_a_session_is_none(
    shop: Shop, redis_client: redis.Redis, lost: str | None
) -> None:
    sid = shop.session_of(a=1)
    if lost is None:
        redis_client.delete(shop.key(sid))
    else:
        redis_client.hdel(shop.key(sid), lost)
    visitor = shop.visitor(sid)
    assert visitor.get("/get/a").text == "None"
    visitor.get("/set/a/new")
    assert sid_of(visitor) != sid


def test_a_session_without_an_end_gets_one_when_it_is_read(
    shop: Shop, redis_client: redis.Redis
) -> None:
    sid = shop.session_of(a=1)
    redis_client.persist(shop.key(sid))
    shop.visitor(sid).get("/get/a")
    assert redis_client.ttl(shop.key(sid)) > 0
