"""Sessions whose id travels in a header, as the guide's ``RedisSessionManager`` has them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from flask import g, session
from flask.testing import FlaskClient

from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.sessions import RedisSessionManager
from flask_redis_kit.sessions.ids import digest_of
from tests.harness.proxy import Proxy
from tests.sessions.shop import Shop, last_used

MakeShop = Callable[..., Shop]


@pytest.fixture
def manager(shop: Shop) -> RedisSessionManager:
    sessions = RedisSessionManager(shop.kit)

    @shop.app.get("/api/protected")
    @sessions.require_auth
    def protected() -> dict[str, Any]:
        return {"user_id": g.user_id, "device": g.session["metadata"].get("device")}

    @shop.app.get("/api/later")
    @sessions.require_auth
    async def later() -> dict[str, Any]:
        return {"user_id": g.user_id}

    return sessions


def ask(client: FlaskClient, sid: str | None, path: str = "/api/protected") -> Any:
    return client.get(path, headers={} if sid is None else {"X-Session-ID": sid})


def test_a_session_is_made_read_and_ended(shop: Shop, manager: RedisSessionManager) -> None:
    with shop.app.app_context():
        sid = manager.create_session(7, {"device": "phone", "seen": (1, 2)})
        found = manager.get_session(sid)
        assert found is not None
        assert found["user_id"] == 7
        assert found["metadata"] == {"device": "phone", "seen": (1, 2)}
        now = datetime.now(UTC)
        assert now - timedelta(minutes=1) < found["created_at"] <= found["last_activity"] <= now
        assert manager.destroy_session(sid) is True
        assert manager.destroy_session(sid) is False
        assert manager.get_session(sid) is None
        assert shop.kit.sessions.list(7) == []


def test_reading_prolongs_a_session(
    shop: Shop, manager: RedisSessionManager, redis_client: redis.Redis
) -> None:
    with shop.app.app_context():
        sid = manager.create_session(7)
        key = shop.key(sid)
        assert 86_380 < redis_client.ttl(key) <= 86400
        redis_client.expire(key, 50)
        manager.get_session(sid)
        assert 86_380 < redis_client.ttl(key) <= 86400


def test_all_sessions_of_a_user_end_those_of_browsers_too(
    shop: Shop, manager: RedisSessionManager
) -> None:
    browser = shop.visitor()
    browser.get("/login/7")
    with shop.app.app_context():
        mine = [manager.create_session(7), manager.create_session("7")]
        other = manager.create_session(8)
        handles = {info.handle for info in shop.kit.sessions.list(7)}
        assert len(handles) == 3
        assert {digest_of(sid) for sid in mine} < handles
        assert manager.destroy_all_user_sessions(7) == 3
        assert [manager.get_session(sid) for sid in mine] == [None, None]
        assert manager.get_session(other) is not None
    assert browser.get("/get/user_id").text == "None"


def test_only_who_has_a_living_session_passes(shop: Shop, manager: RedisSessionManager) -> None:
    client = shop.visitor()
    with shop.app.app_context():
        sid = manager.create_session(7, {"device": "phone"})
    answer = ask(client, sid)
    assert answer.json == {"user_id": 7, "device": "phone"}
    assert ask(client, sid, "/api/later").json == {"user_id": 7}
    for wrong, reason in (
        (None, "Missing session ID"),
        ("", "Missing session ID"),
        ("x" * 43, "Invalid or expired session"),
        ("x" * 100_000, "Invalid or expired session"),
        (digest_of(sid), "Invalid or expired session"),
        (f"h:{digest_of(sid)}", "Invalid or expired session"),
    ):
        answer = ask(client, wrong)
        assert (answer.status_code, answer.json) == (401, {"error": reason})
        assert answer.headers["Cache-Control"] == "no-store"
    with shop.app.app_context():
        manager.destroy_session(sid)
    assert ask(client, sid).status_code == 401


def test_a_visitors_session_is_no_login(shop: Shop, manager: RedisSessionManager) -> None:
    sid = shop.session_of(theme="dark")
    assert ask(shop.visitor(), sid).status_code == 401
    assert shop.read(sid) == {"theme": "dark"}


def test_a_browser_with_the_id_as_a_cookie_is_the_same_user(
    shop: Shop, manager: RedisSessionManager
) -> None:
    with shop.app.app_context():
        sid = manager.create_session(7)
    assert shop.visitor(sid).get("/get/user_id").text == "7"


@pytest.mark.parametrize("user", [None, ""])
def test_who_is_logged_in_as_nobody_does_not_pass(
    shop: Shop, manager: RedisSessionManager, user: str | None
) -> None:
    sid = shop.session_of(user_id=user, theme="dark")
    assert ask(shop.visitor(), sid).status_code == (401 if user is None else 200)
    with shop.app.app_context(), pytest.raises(ValueError, match="give the user"):
        manager.create_session(None)


def test_a_session_that_is_used_stays_in_its_users_list(
    shop: Shop, manager: RedisSessionManager, redis_client: redis.Redis
) -> None:
    with shop.app.app_context():
        sid = manager.create_session(7)
        (index,) = redis_client.scan_iter("frk:*:session:u")
        last_used(redis_client, shop.key(sid), int(time.time()) - 80_000)
        redis_client.zadd(index, {digest_of(sid): time.time() + 6400})
        assert manager.get_session(sid) is not None
        assert (redis_client.zscore(index, digest_of(sid)) or 0) > time.time() + 86400
        (info,) = shop.kit.sessions.list(7)
        assert info.idle < 60


def test_a_browsers_session_keeps_its_own_life(
    shop: Shop, manager: RedisSessionManager, redis_client: redis.Redis
) -> None:
    sid = shop.session_of(user_id="7")
    assert ask(shop.visitor(), sid).status_code == 200
    assert redis_client.ttl(shop.key(sid)) > 30 * 86400
    visitor = shop.session_of(theme="dark")
    assert ask(shop.visitor(), visitor).status_code == 401
    assert redis_client.ttl(shop.key(visitor)) > 30 * 86400


def test_a_field_that_can_not_be_read_is_absent(
    shop: Shop, manager: RedisSessionManager, redis_client: redis.Redis
) -> None:
    with shop.app.app_context():
        sid = manager.create_session(7, {"device": "phone"})
        redis_client.hset(shop.key(sid), "metadata", b"\xff\xff")
        found = manager.get_session(sid)
        assert found is not None
        assert found["metadata"] == {}
        redis_client.hset(shop.key(sid), "user_id", b"\xff\xff")
        assert manager.get_session(sid) is None


def test_no_id_is_no_session(shop: Shop, manager: RedisSessionManager) -> None:
    with shop.app.app_context():
        assert manager.get_session(None) is None
        assert manager.destroy_session(None) is False


@pytest.mark.parametrize("user", ["\ud800", "a\0b", 5000 * "x", "größe", 0, False, ""])
def test_any_user_can_log_in_and_out(
    shop: Shop, manager: RedisSessionManager, user: object
) -> None:
    with shop.app.app_context():
        sid = manager.create_session(user)
        found = manager.get_session(sid)
        assert found is not None
        assert found["user_id"] == user
        assert len(shop.kit.sessions.list(user)) == 1
        assert manager.destroy_all_user_sessions(user) == 1


def test_a_user_has_no_more_sessions_than_he_may(make_shop: MakeShop, redis_url: str) -> None:
    shop = make_shop(redis_url, SESSION_MAX_PER_USER=2)
    manager = RedisSessionManager(shop.kit, ttl=timedelta(hours=1))
    shop.visitor().get("/login/7")
    with shop.app.app_context():
        ids = [manager.create_session(7) for _ in range(3)]
        assert len(shop.kit.sessions.list(7)) == 2
        assert manager.get_session(ids[-1]) is not None


def test_an_absolute_end_holds_here_too(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, SESSION_ABSOLUTE_TIMEOUT=500)
    manager = RedisSessionManager(shop.kit)
    with shop.app.app_context():
        sid = manager.create_session(7)
        manager.get_session(sid)
        assert 0 < redis_client.ttl(shop.key(sid)) <= 500


@pytest.mark.standalone("counts round trips")
def test_each_step_is_one_round_trip(make_shop: MakeShop, proxy: Proxy) -> None:
    shop = make_shop(proxy.url)
    manager = RedisSessionManager(shop.kit)
    with shop.app.app_context():
        manager.get_session(manager.create_session(7))  # the scripts are known
        with proxy.counting() as count:
            sid = manager.create_session(7)
        assert count.trips == 1
        with proxy.counting() as count:
            manager.get_session(sid)
        assert count.trips == 1
        with proxy.counting() as count:
            manager.get_session("no id")
        assert count.trips == 0


@pytest.mark.standalone("the proxy stands before one server")
def test_an_outage_is_a_503_and_no_401(make_shop: MakeShop, proxy: Proxy) -> None:
    shop = make_shop(proxy.url, REDIS_SOCKET_TIMEOUT=0.2, REDIS_SOCKET_CONNECT_TIMEOUT=0.2)
    manager = RedisSessionManager(shop.kit)

    @shop.app.get("/api/protected")
    @manager.require_auth
    def protected() -> str:
        return "in"

    with shop.app.app_context():
        sid = manager.create_session(7)
    proxy.cut()
    proxy.refuse()
    answer = ask(shop.visitor(), sid)
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


def test_nothing_is_stored_of_what_can_not_be(shop: Shop, manager: RedisSessionManager) -> None:
    with shop.app.app_context():
        with pytest.raises(CodecError):
            manager.create_session(7, {"socket": object()})
        assert shop.kit.sessions.list(7) == []
        with pytest.raises(ValueError, match="ttl=0"):
            RedisSessionManager(shop.kit, ttl=0)
        with pytest.raises(TypeError, match="give it a RedisKit"):
            RedisSessionManager(redis.Redis)  # type: ignore[arg-type]


def test_the_request_keeps_its_own_session(shop: Shop, manager: RedisSessionManager) -> None:
    with shop.app.app_context():
        sid = manager.create_session(7)

    @shop.app.get("/both")
    @manager.require_auth
    def both() -> dict[str, Any]:
        return {"header": g.user_id, "cookie": session.get("user_id")}

    client = shop.visitor(shop.session_of(user_id="8"))
    assert ask(client, sid, "/both").json == {"header": 7, "cookie": "8"}
