"""Ids: when they change, and that nobody learns one from the server."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest
import redis
from flask import session

from flask_redis_kit.sessions.ids import digest_of
from flask_redis_kit.sessions.record import GRACE
from tests.harness.proxy import Proxy
from tests.sessions.shop import Shop, set_cookies, sid_of

Stored = Callable[[], list[bytes]]


def test_a_login_gets_a_new_id_and_the_old_one_is_dead(shop: Shop, stored: Stored) -> None:
    old = shop.session_of(cart=["pen"])
    visitor = shop.visitor(old)
    visitor.get("/login/7")
    new = sid_of(visitor)
    assert new != old
    assert shop.read(new) == {"cart": ["pen"], "user_id": "7"}
    assert shop.read(old) == {}
    assert stored() == [shop.key(new).encode()]


@pytest.mark.parametrize("key", ["user_id", "_user_id"])
@pytest.mark.parametrize(("before", "after"), [(None, 7), (7, 8), (7, None), (7, "7"), (1, True)])
def test_every_change_of_the_user_changes_the_id(
    shop: Shop, key: str, before: object, after: object
) -> None:
    old = shop.session_of(a=1, **({} if before is None else {key: before}))
    visitor = shop.visitor(old)
    with visitor.session_transaction() as found:
        if after is None:
            del found[key]
        else:
            found[key] = after
    assert sid_of(visitor) != old
    assert shop.read(old) == {}
    assert shop.read(sid_of(visitor)) == {"a": 1} | ({} if after is None else {key: after})


def test_a_stored_session_tells_whose_it_is(shop: Shop, redis_client: redis.Redis) -> None:
    visitor = shop.visitor(shop.session_of(a=1))
    assert redis_client.hget(shop.key(sid_of(visitor)), "\0u") is None
    visitor.get("/login/7")
    owner = redis_client.hget(shop.key(sid_of(visitor)), "\0u")
    assert isinstance(owner, bytes)
    assert re.match(rb"[0-9]{10}:1:7", owner)
    visitor.get("/pop/user_id")
    assert redis_client.hgetall(shop.key(sid_of(visitor))).keys() == {
        b"\0b",
        b"\0c",
        b"a",
    }


def test_the_same_user_again_keeps_the_id(shop: Shop) -> None:
    old = shop.session_of(user_id="7")
    visitor = shop.visitor(old)
    response = visitor.get("/login/7")
    assert set_cookies(response) == []
    assert sid_of(visitor) == old


def test_clearing_and_setting_begins_a_new_session_with_only_the_new(
    shop: Shop, stored: Stored
) -> None:
    planted = shop.session_of(a="planted by an attacker who knows the id")
    visitor = shop.visitor(planted)
    visitor.get("/anew/7")
    assert sid_of(visitor) != planted
    assert shop.read(sid_of(visitor)) == {"user_id": "7"}
    assert shop.read(planted) == {}
    assert stored() == [shop.key(sid_of(visitor)).encode()]


def test_regenerate_keeps_the_data_and_changes_the_id(shop: Shop) -> None:
    old = shop.session_of(a=1)
    visitor = shop.visitor(old)
    announced = visitor.get("/regenerate").text
    assert sid_of(visitor) == announced != old
    assert shop.read(announced) == {"a": 1}
    assert shop.read(old) == {}


def test_clear_then_regenerate_then_login_changes_the_id(shop: Shop) -> None:
    @shop.app.get("/all")
    def all_() -> str:
        session.clear()
        shop.kit.sessions.regenerate(session)
        session["user_id"] = 7
        return ""

    old = shop.session_of(a=1)
    visitor = shop.visitor(old)
    visitor.get("/all")
    assert sid_of(visitor) != old
    assert shop.read(sid_of(visitor)) == {"user_id": 7}


def test_the_interface_regenerates_too_as_flask_sessions_does(shop: Shop) -> None:
    @shop.app.get("/again")
    def again() -> str:
        shop.app.session_interface.regenerate(session)  # type: ignore[attr-defined]
        return ""

    old = shop.session_of(a=1)
    visitor = shop.visitor(old)
    visitor.get("/again")
    assert sid_of(visitor) != old
    assert shop.read(sid_of(visitor)) == {"a": 1}


def test_regenerate_refuses_what_is_no_session_of_the_kit(shop: Shop) -> None:
    with pytest.raises(TypeError, match=r"app\.session_interface = RedisSessionInterface"):
        shop.kit.sessions.regenerate({})


def test_a_logout_ends_the_session_on_the_server(shop: Shop, stored: Stored) -> None:
    sid = shop.session_of(user_id=7)
    visitor = shop.visitor(sid)
    visitor.get("/clear")
    assert sid_of(visitor) == ""
    assert stored() == []
    assert shop.read(sid) == {}


def test_popping_the_last_key_is_a_logout(shop: Shop, stored: Stored) -> None:
    visitor = shop.visitor(shop.session_of(name="ann", _permanent=True))
    visitor.get("/pop/name")
    assert sid_of(visitor) == ""
    assert stored() == []


def test_an_id_that_was_never_given_out_is_not_taken_over(shop: Shop, stored: Stored) -> None:
    visitor = shop.visitor("A" * 43)
    visitor.get("/set/a/1")
    assert sid_of(visitor) != "A" * 43
    assert stored() == [shop.key(sid_of(visitor)).encode()]


def test_the_mark_of_an_ended_session_goes_away_by_itself(
    shop: Shop, redis_client: redis.Redis
) -> None:
    sid = shop.session_of(a=1)
    shop.visitor(sid).get("/login/7")
    assert redis_client.hkeys(shop.key(sid)) == [b"\0x"]
    assert 0 < redis_client.ttl(shop.key(sid)) <= GRACE


def test_reading_never_prolongs_the_mark_of_an_ended_session(
    shop: Shop, redis_client: redis.Redis
) -> None:
    sid = shop.session_of(a=1)
    redis_client.expire(shop.key(sid), 10)  # so that a read prolongs it

    @shop.app.get("/read-while-it-ends")
    def read() -> str:
        session.get("a")
        shop.visitor(sid).get("/login/7")
        return ""

    shop.visitor(sid).get("/read-while-it-ends")
    assert 0 < redis_client.ttl(shop.key(sid)) <= GRACE


def test_the_server_never_sees_an_id(
    counted: Shop, proxy: Proxy, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ids = [counted.session_of(a=1)]
    visitor = counted.visitor(ids[0])
    for path in ("/set/b/2", "/login/7", "/regenerate", "/anew/8", "/clear"):
        visitor.get(path)
        ids.append(sid_of(visitor))
        counted.visitor(ids[0]).get("/set/late/1")
    seen = b" ".join(b" ".join(command) for command in proxy.commands)
    for key in redis_client.scan_iter("*"):
        held = redis_client.zrange(key, 0, -1) if key.endswith(b":u") else redis_client.hgetall(key)
        seen += key + repr(held).encode()
    seen += caplog.text.encode()
    assert len(seen) > 1000
    for sid in filter(None, ids):
        assert sid.encode() not in seen


HOSTILE = [
    "x",
    "A" * 21,
    "A" * 87,
    "A" * 100_000,
    "A" * 42 + "=",
    "A" * 42 + ":",
    "h:" + "A" * 41,
    "../" + "A" * 40,
    "A" * 42 + "é",
    "A" * 42 + "\\012",
    "*" * 43,
]


@pytest.mark.parametrize("cookie", HOSTILE, ids=lambda cookie: f"{len(cookie)}-{cookie[:8]}")
def test_a_cookie_that_is_no_id_never_reaches_the_server(
    counted: Shop, proxy: Proxy, cookie: str
) -> None:
    header = {"Cookie": f'session="{cookie}"'}
    client = counted.app.test_client(use_cookies=False)
    for path in ("/get/a", "/clear", "/untouched", "/regenerate"):
        assert client.get(path, headers=header).status_code == 200
    assert proxy.commands == []
    assert client.get("/set/a/1", headers=header).status_code == 200
    assert cookie.encode() not in b" ".join(proxy.commands[0]) or cookie == "x"


def test_a_hashed_id_is_no_cookie(shop: Shop) -> None:
    sid = shop.session_of(user_id=7)
    assert shop.read(digest_of(sid)) == {}
