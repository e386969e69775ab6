"""The sessions of a user: listed, ended from elsewhere, and never more than so many."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from flask import session

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.sessions import SessionInfo, session_revoked
from flask_redis_kit.sessions.ids import digest_of
from flask_redis_kit.sessions.record import user_digest
from flask_redis_kit.sessions.roll import UserIndex
from tests.harness.proxy import Proxy
from tests.sessions.conftest import MakeShop
from tests.sessions.shop import Shop, last_used, set_cookies, sid_of

Stored = Callable[[], list[bytes]]
ROUNDS = 60


def devices(shop: Shop, user: object = "7") -> list[SessionInfo]:
    """What ``kit.sessions.list`` finds."""
    with shop.app.app_context():
        return shop.kit.sessions.list(user)


def revoke_user(shop: Shop, user: object = "7") -> int:
    """Log out everywhere, from outside of a request."""
    with shop.app.app_context():
        return shop.kit.sessions.revoke_user(user)


def index_of(shop: Shop, user: str = "7") -> str:
    """The key of a user's index."""
    return f"frk:{{{shop.app.name}:{user_digest(user)}}}:session:u"


def login(shop: Shop, user: str = "7", agent: str = "Firefox") -> str:
    """Log in with a new browser; its id."""
    visitor = shop.visitor()
    visitor.get(f"/login/{user}", headers={"User-Agent": agent})
    return sid_of(visitor)


def test_a_user_sees_his_devices_the_one_used_last_first(
    shop: Shop, redis_client: redis.Redis
) -> None:
    phone, laptop = login(shop, agent="Phone"), login(shop, agent="Laptop")
    login(shop, "8", "Other")
    last_used(redis_client, shop.key(phone), 1000)
    first, second = devices(shop)
    assert [first.user_agent, second.user_agent] == ["Laptop", "Phone"]
    assert [first.handle, second.handle] == [digest_of(laptop), digest_of(phone)]
    assert first.ip == "127.0.0.1"
    assert not first.current
    assert first.created_at is not None
    assert abs((datetime.now(UTC) - first.created_at).total_seconds()) < 60
    assert first.last_seen is not None
    assert first.idle < 60
    assert second.last_seen == datetime.fromtimestamp(1000, UTC)
    assert second.idle > 1e9
    assert 31 * 86400 - 60 < first.expires_in <= 31 * 86400
    assert [d.handle for d in devices(shop, 7)] == [first.handle, second.handle]
    assert devices(shop, "nobody") == []


def test_the_device_of_the_request_is_marked(shop: Shop) -> None:
    @shop.app.get("/devices")
    def list_devices() -> list[bool]:
        return [device.current for device in shop.kit.sessions.list(session["user_id"])]

    login(shop)
    visitor = shop.visitor(login(shop))
    response = visitor.get("/devices")
    assert sorted(response.json) == [False, True]  # type: ignore[arg-type]
    assert response.headers["Vary"] == "Cookie"


def test_sessions_without_a_user_have_no_index_and_tell_nothing_of_the_device(
    shop: Shop, redis_client: redis.Redis
) -> None:
    sid = shop.session_of(a=1)
    assert list(redis_client.scan_iter("*:session:u")) == []
    assert redis_client.hkeys(shop.key(sid)) == [b"\0c", b"a"]


def test_logging_out_and_rotating_leave_no_entries(shop: Shop) -> None:
    visitor = shop.visitor(login(shop))
    visitor.get("/regenerate")
    assert [d.handle for d in devices(shop)] == [digest_of(sid_of(visitor))]
    visitor.get("/login/8")
    assert devices(shop) == []
    assert len(devices(shop, "8")) == 1
    visitor.get("/read-and-clear")
    assert devices(shop, "8") == []


@pytest.mark.standalone(reason="on a Cluster the entry stays until it is looked at")
def test_the_entry_of_an_id_that_was_replaced_goes_with_it(
    shop: Shop, redis_client: redis.Redis
) -> None:
    visitor = shop.visitor(login(shop))
    visitor.get("/regenerate")
    assert redis_client.zrange(index_of(shop), 0, -1) == [digest_of(sid_of(visitor)).encode()]


def test_a_device_is_ended_by_its_handle(shop: Shop) -> None:
    told: list[tuple[str, object, str]] = []

    def note(_: object, session: str, user: object, reason: str) -> None:
        told.append((session, user, reason))

    phone, laptop = login(shop), login(shop)
    with shop.app.app_context(), session_revoked.connected_to(note):
        assert shop.kit.sessions.revoke(digest_of(phone))
        assert not shop.kit.sessions.revoke(digest_of(phone), user="7")
        assert not shop.kit.sessions.revoke("no handle")
    assert told == [(digest_of(phone), None, "revoked")]
    visitor = shop.visitor(phone)
    assert visitor.get("/get/user_id").text == "None"
    assert set_cookies(visitor.get("/get/user_id")) == []
    assert [d.handle for d in devices(shop)] == [digest_of(laptop)]


def test_a_device_of_another_user_is_not_ended(shop: Shop) -> None:
    sid = login(shop)
    with shop.app.app_context():
        assert not shop.kit.sessions.revoke(digest_of(sid), user="8")
        assert shop.read(sid)["user_id"] == "7"
        assert shop.kit.sessions.revoke(digest_of(sid), user=7)
    assert shop.read(sid) == {}


def test_all_devices_are_ended_but_the_current_one(shop: Shop) -> None:
    @shop.app.get("/elsewhere")
    def elsewhere() -> str:
        return str(shop.kit.sessions.revoke_user("7", except_current=True))

    others = [login(shop) for _ in range(3)]
    stranger = login(shop, "8")
    visitor = shop.visitor(login(shop))
    assert visitor.get("/elsewhere").text == "3"
    assert visitor.get("/get/user_id").text == "7"
    assert [shop.read(sid) for sid in others] == [{}, {}, {}]
    assert shop.read(stranger)["user_id"] == "8"
    assert len(devices(shop)) == 1
    assert revoke_user(shop) == 1
    assert revoke_user(shop) == 0
    assert visitor.get("/get/user_id").text == "None"


@pytest.mark.standalone(reason="it counts trips")
def test_what_devices_cost(counted: Shop, proxy: Proxy) -> None:
    for _ in range(5):
        login(counted)
    devices(counted)  # the script is known
    for act, trips in ((devices, 2), (revoke_user, 3), (revoke_user, 1), (devices, 1)):
        with proxy.counting() as count:
            act(counted)
        assert (act, count.trips) == (act, trips)


def test_a_device_is_seen_again_when_it_is_due_and_from_where_it_is_by_then(
    counted: Shop, proxy: Proxy, redis_client: redis.Redis
) -> None:
    sid = login(counted)
    last_used(redis_client, counted.key(sid), 1000)
    redis_client.expire(counted.key(sid), 1000)
    redis_client.zadd(index_of(counted), {digest_of(sid): 4e9})
    with proxy.counting() as count:
        counted.visitor(sid).get("/get/a", headers={"User-Agent": "Newer"})
    assert count.trips == 2
    (device,) = devices(counted)
    assert device.user_agent == "Newer"
    assert device.idle < 60


def test_a_session_that_is_in_use_stays_in_the_index_and_the_index_on_the_server(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, SESSION_IDLE_TIMEOUT=60)
    sid = login(shop)
    key, handle = index_of(shop), digest_of(sid)
    assert 42 < redis_client.ttl(key) <= 62
    last_used(redis_client, shop.key(sid), 1000)
    redis_client.expire(shop.key(sid), 30)
    redis_client.zadd(key, {handle: 5})
    redis_client.expire(key, 5)
    shop.visitor(sid).get("/get/a")
    score = redis_client.zscore(key, handle)
    assert score is not None
    assert score > datetime.now().timestamp() + 50
    assert 42 < redis_client.ttl(key) <= 62


def test_an_index_cleans_itself(shop: Shop, redis_client: redis.Redis) -> None:
    sid = login(shop)
    over, lost, new = digest_of("over"), digest_of("lost"), digest_of("new")
    soon = datetime.now().timestamp() + 1000
    redis_client.zadd(index_of(shop), {over: 5, lost: soon, new: 4e9})
    assert [d.handle for d in devices(shop)] == [digest_of(sid)]
    left = redis_client.zrange(index_of(shop), 0, -1)
    assert lost.encode() not in left
    assert new.encode() in left  # its session may be about to be stored
    login(shop)
    assert over.encode() not in redis_client.zrange(index_of(shop), 0, -1)


def test_a_user_has_no_more_sessions_than_allowed_and_the_unused_go(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, SESSION_MAX_PER_USER=2)
    first, second = login(shop), login(shop)
    last_used(redis_client, shop.key(first), 2000)
    last_used(redis_client, shop.key(second), 1000)
    third = login(shop)
    assert [shop.read(sid) == {} for sid in (first, second, third)] == [False, True, False]
    assert login(shop, "8")
    assert len(devices(shop)) == 2


def test_of_sessions_that_begin_in_the_same_second_the_oldest_goes(
    make_shop: MakeShop, redis_url: str
) -> None:
    shop = make_shop(redis_url, SESSION_MAX_PER_USER=3)
    for user in map(str, range(10)):
        first, *others = [login(shop, user) for _ in range(4)]
        assert [shop.read(sid) == {} for sid in (first, *others)] == [True, False, False, False]


def test_logouts_make_room(make_shop: MakeShop, redis_url: str) -> None:
    shop = make_shop(redis_url, SESSION_MAX_PER_USER=2)
    kept = login(shop)
    for _ in range(5):
        shop.visitor(login(shop)).get("/clear")  # which doesn't know the user
    login(shop)
    assert shop.read(kept)["user_id"] == "7"


@pytest.mark.parametrize("cap", [1, 3])
def test_simultaneous_logins_stay_within_the_limit(
    make_shop: MakeShop, redis_url: str, stored: Stored, cap: int
) -> None:
    shop = make_shop(redis_url, SESSION_MAX_PER_USER=cap)
    with ThreadPoolExecutor(6) as pool:
        for turn in range(ROUNDS // 6):
            list(pool.map(lambda _, user=turn: login(shop, f"u{user}"), range(6)))
            assert 1 <= len(devices(shop, f"u{turn}")) <= cap


def test_a_session_that_is_ended_while_it_is_stored_is_not_stored(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol = UserIndex.enrol

    def revoked_in_between(self: UserIndex, *args: Any, **how: Any) -> Exchange[dict[str, bool]]:
        exchange = enrol(self, *args, **how)
        store = shop.kit.sessions.engine()
        store.wire.send(exchange)
        assert revoke_user(shop) == 0  # there is only the entry
        return exchange

    with monkeypatch.context() as patch:
        patch.setattr(UserIndex, "enrol", revoked_in_between)
        visitor = shop.visitor()
        response = visitor.get("/login/7")
    assert response.status_code == 200
    assert set_cookies(response) == []
    assert devices(shop) == []


@pytest.mark.parametrize("rotation", ["/regenerate", "/login/7"])
def test_logging_out_everywhere_misses_no_session_that_just_changed_its_id(
    shop: Shop, rotation: str
) -> None:
    """Both at once, in whatever order: afterwards the old session is nowhere."""
    survived = 0
    with ThreadPoolExecutor(3) as pool:
        for turn in range(ROUNDS):
            sid = login(shop, "7") if rotation == "/regenerate" else shop.session_of(a=1)
            browser = shop.visitor(sid)

            def rotate() -> None:
                for _ in range(random.randrange(2000)):
                    pass
                browser.get(rotation)  # noqa: B023  # of this round
                browser.get("/regenerate")  # noqa: B023

            rotating = pool.submit(rotate)
            revoking = [pool.submit(revoke_user, shop) for _ in range(1 + turn % 2)]
            rotating.result()
            for each in revoking:
                each.result()
            if rotation == "/regenerate":
                survived += shop.read(sid_of(browser)) != {}
            listed = {device.handle for device in devices(shop)}
            alive = shop.read(sid_of(browser))
            if "user_id" in alive:
                assert digest_of(sid_of(browser)) in listed
            revoke_user(shop)
    assert survived == 0
