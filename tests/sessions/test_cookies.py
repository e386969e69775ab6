"""The cookie: its attributes when it is set and when it is deleted, and when it is renewed."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis
from flask import Response
from flask.sessions import SessionInterface
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import dump_cookie
from werkzeug.test import TestResponse

from flask_redis_kit.sessions.cookie import set_cookie_header
from flask_redis_kit.sessions.ids import new_id
from flask_redis_kit.sessions.span import slide_interval
from tests.sessions.conftest import MakeShop
from tests.sessions.shop import Shop, set_cookies, sid_of

# Flask 3.1
PARTITIONED_IS_KNOWN = hasattr(SessionInterface, "get_cookie_partitioned")


def attributes(response: TestResponse) -> set[str]:
    """The attributes of the only cookie, without those that say when it ends."""
    (cookie,) = response.headers.getlist("Set-Cookie")
    ends = ("Expires=", "Max-Age=")
    return {part for part in cookie.split("; ")[1:] if not part.startswith(ends)}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "Lax"},
        {"SESSION_COOKIE_NAME": "__Host-shop", "SESSION_COOKIE_SECURE": True},
        {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PARTITIONED": True},
        {"SESSION_COOKIE_PATH": "/shop", "SESSION_COOKIE_HTTPONLY": False},
        {"APPLICATION_ROOT": "/shop"},
        {"SESSION_COOKIE_DOMAIN": "shop.example"},
    ],
    ids=lambda config: ",".join(config) or "defaults",
)
def test_a_cookie_is_deleted_with_the_attributes_it_was_set_with(
    make_shop: MakeShop, redis_url: str, config: dict[str, object]
) -> None:
    shop = make_shop(redis_url, **config)
    client = shop.app.test_client(use_cookies=False)
    response = client.get("/set/a/1")
    name, _, rest = response.headers["Set-Cookie"].partition("=")
    assert name == config.get("SESSION_COOKIE_NAME", "session")
    sid = rest.partition(";")[0]
    gone = client.get("/clear", headers={"Cookie": f"{name}={sid}"})
    assert gone.headers["Set-Cookie"].startswith(f"{name}=;")
    assert "Max-Age=0" in gone.headers["Set-Cookie"]
    assert attributes(gone) == attributes(response)
    if "SESSION_COOKIE_PARTITIONED" in config and PARTITIONED_IS_KNOWN:
        assert {"Secure", "Partitioned"} <= attributes(gone)


def test_a_response_with_a_cookie_is_not_to_be_stored(shop: Shop) -> None:
    visitor = shop.visitor()
    for path in ("/set/a/1", "/clear"):
        response = visitor.get(path)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Vary"] == "Cookie"


def test_a_view_that_says_how_to_cache_is_left_alone(shop: Shop) -> None:
    @shop.app.after_request
    def say(response: TestResponse) -> TestResponse:
        response.headers["Cache-Control"] = "private, max-age=5"
        return response

    assert shop.visitor().get("/set/a/1").headers["Cache-Control"] == "private, max-age=5"


def test_clearing_without_a_cookie_deletes_none(shop: Shop) -> None:
    assert set_cookies(shop.visitor().get("/clear")) == []


def test_clearing_deletes_a_cookie_that_is_no_id(shop: Shop) -> None:
    (cookie,) = set_cookies(shop.visitor("rubbish").get("/clear"))
    assert cookie.startswith("session=;")


@pytest.mark.parametrize("path", ["/get/a", "/untouched", "/regenerate", "/pop/a", "/permanent"])
def test_a_cookie_whose_session_is_missing_is_not_deleted(shop: Shop, path: str) -> None:
    assert set_cookies(shop.visitor("A" * 43).get(path)) == []


def test_a_permanent_session_has_a_cookie_with_an_end(shop: Shop) -> None:
    visitor = shop.visitor(shop.session_of(a=1))
    first = visitor.get("/permanent")
    assert "Expires=later" in set_cookies(first)[0]
    assert visitor.get("/get/_permanent").text == "True"


def test_a_session_that_is_permanent_no_more_has_a_cookie_without_an_end(shop: Shop) -> None:
    visitor = shop.visitor(shop.session_of(a=1, _permanent=True))
    (cookie,) = set_cookies(visitor.get("/pop/_permanent"))
    assert sid_of(visitor) in cookie
    assert "Expires" not in cookie


def test_a_permanent_session_is_not_sent_again_when_it_is_read(shop: Shop) -> None:
    visitor = shop.visitor(shop.session_of(a=1, _permanent=True))
    assert set_cookies(visitor.get("/get/a")) == []
    assert set_cookies(visitor.get("/permanent")) == []


def test_reading_an_ageing_session_prolongs_it_once(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, PERMANENT_SESSION_LIFETIME=timedelta(minutes=30))
    sid = shop.session_of(a=1, _permanent=True)
    key = shop.key(sid)
    visitor = shop.visitor(sid)
    redis_client.expire(key, 1790)  # not due yet: the interval is 30 s
    assert set_cookies(visitor.get("/get/a")) == []
    assert redis_client.ttl(key) <= 1790
    redis_client.expire(key, 1700)
    assert set_cookies(visitor.get("/untouched")) == []
    assert redis_client.ttl(key) <= 1700
    assert "Expires=later" in set_cookies(visitor.get("/get/a"))[0]
    assert redis_client.ttl(key) > 1790
    assert set_cookies(visitor.get("/get/a")) == []


def test_a_session_of_the_browsers_life_is_prolonged_without_a_cookie(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, PERMANENT_SESSION_LIFETIME=timedelta(minutes=30))
    sid = shop.session_of(a=1)
    redis_client.expire(shop.key(sid), 100)
    assert set_cookies(shop.visitor(sid).get("/get/a")) == []
    assert redis_client.ttl(shop.key(sid)) > 1790


def test_without_refreshing_only_writes_prolong(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url, SESSION_REFRESH_EACH_REQUEST=False)
    sid = shop.session_of(a=1, _permanent=True)
    redis_client.expire(shop.key(sid), 100)
    assert set_cookies(shop.visitor(sid).get("/get/a")) == []
    assert redis_client.ttl(shop.key(sid)) <= 100
    assert "Expires=later" in set_cookies(shop.visitor(sid).get("/set/a/2"))[0]
    assert redis_client.ttl(shop.key(sid)) > 100


def test_a_shorter_lifetime_takes_hold_of_old_sessions(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    sid = make_shop(redis_url).session_of(a=1)
    shop = make_shop(redis_url, PERMANENT_SESSION_LIFETIME=60)
    shop.visitor(sid).get("/get/a")
    assert redis_client.ttl(shop.key(sid)) <= 60


@given(
    st.sampled_from(["session", "__Host-shop", "größe"]),
    st.sampled_from([None, "Sat, 21 Nov 2026 08:00:00 GMT"]),
    st.fixed_dictionaries(
        {
            "domain": st.sampled_from([None, "shop.example", "größe.example", "Expires=@"]),
            "path": st.sampled_from(["/", "/a b", "/=;%@\0", None]),
            "secure": st.booleans(),
            "httponly": st.booleans(),
            "samesite": st.sampled_from([None, "Lax", "none"]),
        }
    ),
)
def test_the_header_is_the_one_that_werkzeug_makes(
    name: str, expires: str | None, settings: dict[str, object]
) -> None:
    sid = new_id()
    wanted = dump_cookie(name, sid, expires=expires, **settings)  # type: ignore[arg-type]
    assert set_cookie_header(name, sid, expires, tuple(settings.items())) == wanted


def test_a_response_with_its_own_way_to_set_cookies_is_asked(
    make_shop: MakeShop, redis_url: str
) -> None:
    class Ours(Response):
        def set_cookie(self, *args: object, **options: object) -> None:
            super().set_cookie(*args, **{**options, "samesite": "Strict"})  # type: ignore[arg-type]

    shop = make_shop(redis_url)
    assert "SameSite=Strict" not in attributes(shop.visitor().get("/set/a/1"))
    shop.app.response_class = Ours
    assert "SameSite=Strict" in attributes(shop.visitor().get("/set/a/1"))


def test_saying_modified_sends_the_cookie_again(shop: Shop) -> None:
    visitor = shop.visitor(shop.session_of(a=1))
    assert len(set_cookies(visitor.get("/modified"))) == 1
    assert visitor.get("/get/a").text == "1"


def test_the_time_between_two_prolongations_follows_the_lifetime() -> None:
    assert slide_interval(10) == 1
    assert slide_interval(1800) == 30
    assert slide_interval(31 * 86400) == 3600


def test_an_application_cannot_see_the_sessions_of_another(
    make_shop: MakeShop, redis_url: str
) -> None:
    from flask_redis_kit import RedisKit

    kit = RedisKit(features=("sessions",))
    one = make_shop(redis_url, name="one", kit=kit)
    two = make_shop(
        redis_url, name="two", kit=kit, SESSION_COOKIE_NAME="session", SESSION_COOKIE_SECURE=True
    )
    sid = one.session_of(a=1)
    assert two.read(sid) == {}
    assert one.read(sid) == {"a": 1}
    assert "Secure" not in attributes(one.visitor().get("/set/a/1"))
    assert "Secure" in attributes(two.visitor().get("/set/a/1"))
    assert sid_of(one.visitor(sid)) == sid
