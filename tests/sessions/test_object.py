"""The session object: saving early, reading anew, its own expiry, its age."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from flask import session, stream_with_context
from flask.typing import ResponseReturnValue

from flask_redis_kit.sessions import (
    RedisSession,
    SessionInterrupted,
    session_created,
    session_destroyed,
    session_interrupted,
    session_rejected,
    session_rotated,
)
from flask_redis_kit.sessions.ids import digest_of
from tests.harness.proxy import Proxy
from tests.sessions.conftest import MakeShop
from tests.sessions.shop import Shop, set_cookies, sid_of


def ours() -> RedisSession:
    """The session of this request, typed."""
    found = session._get_current_object()  # type: ignore[attr-defined]  # a proxy
    assert isinstance(found, RedisSession)
    return found


def test_what_is_committed_is_stored_while_the_request_goes_on(shop: Shop) -> None:
    seen: list[dict[str, Any]] = []

    @shop.app.get("/commit")
    def commit() -> str:
        session["a"] = 2
        del session["b"]
        ours().commit()
        seen.append(shop.read(sid))
        ours().commit()
        session["c"] = 3
        return ""

    sid = shop.session_of(a=1, b=1)
    assert set_cookies(shop.visitor(sid).get("/commit")) == []
    assert seen == [{"a": 2}]
    assert shop.read(sid) == {"a": 2, "c": 3}


def test_committing_costs_one_trip_and_nothing_twice(make_shop: MakeShop, proxy: Proxy) -> None:
    shop = make_shop(proxy.url)
    trips: list[int] = []

    @shop.app.get("/commit")
    def commit() -> str:
        session["a"] = session.get("a", 0) + 1
        for _ in range(2):
            with proxy.counting() as count:
                ours().commit()
            trips.append(count.trips)
        return ""

    sid = shop.session_of(a=1)
    shop.visitor(sid).get("/commit")
    trips.clear()
    with proxy.counting() as count:
        shop.visitor(sid).get("/commit")
    assert trips == [1, 0]
    assert count.trips == 2


@pytest.mark.parametrize("act", ["new", "login", "regenerate", "anew", "clear", "pop"])
def test_a_commit_that_needs_a_cookie_gets_it_in_the_response(shop: Shop, act: str) -> None:
    @shop.app.get("/commit")
    def commit() -> str:
        if act in ("clear", "anew"):
            session.clear()
        if act == "pop":
            session.pop("a")
        elif act == "regenerate":
            ours().regenerate()
        elif act != "clear":
            session["user_id" if act == "login" else "b"] = 2
        ours().commit()
        if act not in ("clear", "pop"):
            session["later"] = 1  # goes where the commit went
        return str(ours().sid)

    visitor = shop.visitor("" if act == "new" else shop.session_of(a=1))
    old = sid_of(visitor)
    response = visitor.get("/commit")
    assert len(set_cookies(response)) == 1
    if act in ("clear", "pop"):
        assert sid_of(visitor) == ""
    else:
        assert sid_of(visitor) == response.text != old
        kept = {} if act in ("new", "anew") else {"a": 1}
        added = {"login": {"user_id": 2}, "regenerate": {}}.get(act, {"b": 2})
        assert shop.read(sid_of(visitor)) == kept | added | {"later": 1}
    if old:
        assert shop.read(old) == {}


def test_a_streamed_body_may_commit_but_start_no_session(shop: Shop) -> None:
    told: list[str] = []

    @shop.app.get("/stream/<act>")
    def stream(act: str) -> ResponseReturnValue:
        def body() -> Iterator[str]:
            yield str(session.get("a"))
            session["user_id" if act == "login" else "b"] = 2
            try:
                ours().commit()
            except RuntimeError as error:
                told.append(str(error))

        return shop.app.response_class(stream_with_context(body()))

    sid = shop.session_of(a=1)
    assert shop.visitor(sid).get("/stream/write").text == "1"
    assert shop.read(sid) == {"a": 1, "b": 2}
    assert told == []
    assert shop.visitor(sid).get("/stream/login").text == "1"
    assert shop.visitor().get("/stream/write").text == "None"
    assert shop.read(sid) == {"a": 1, "b": 2}
    assert len(told) == 2
    assert "response has begun" in told[0]


def test_a_commit_to_a_session_that_ended_is_told(make_shop: MakeShop, redis_url: str) -> None:
    told: list[str] = []

    def note(_: object, session: str, reason: str) -> None:
        told.append(reason)

    for policy in ("drop", "raise"):
        shop = make_shop(redis_url, SESSION_ON_INTERRUPT=policy)

        @shop.app.get("/commit")
        def commit() -> str:
            session["a"] = 2
            shop.visitor(sid).get("/clear")  # noqa: B023  # of this turn
            ours().commit()
            session["b"] = 2
            return "went on"

        sid = shop.session_of(a=1)
        with session_interrupted.connected_to(note):
            response = shop.visitor(sid).get("/commit")
        assert set_cookies(response) == []
        assert shop.read(sid) == {}
        if policy == "raise":
            assert response.status_code == 409
        else:
            assert response.text == "went on"
    assert told == ["ended", "ended", "ended"]


def test_an_interruption_at_the_end_of_a_request_is_a_500_if_so_wished(
    make_shop: MakeShop, redis_url: str
) -> None:
    shop = make_shop(redis_url, SESSION_ON_INTERRUPT="raise")
    seen: list[BaseException | None] = []

    @shop.app.get("/late")
    def late() -> str:
        session["a"] = 2
        shop.visitor(sid).get("/clear")
        return ""

    @shop.app.errorhandler(500)
    def excuse(error: Any) -> tuple[str, int]:
        seen.append(error.original_exception)
        return "", 500

    sid = shop.session_of(a=1)
    response = shop.visitor(sid).get("/late")
    assert response.status_code == 500
    assert set_cookies(response) == []
    (error,) = seen
    assert isinstance(error, SessionInterrupted)
    assert error.session == digest_of(sid)


def test_reloading_forgets_what_the_request_did(shop: Shop) -> None:
    @shop.app.get("/reload")
    def reload() -> list[Any]:
        session["a"] = 2
        session["mine"] = 1
        shop.visitor(sid).get("/set/b/other")
        ours().reload()
        return sorted(session.items())

    sid = shop.session_of(a=1)
    assert shop.visitor(sid).get("/reload").json == [["a", 1], ["b", "other"]]
    assert shop.read(sid) == {"a": 1, "b": "other"}


@pytest.mark.parametrize("act", ["clear", "regenerate"])
def test_reloading_takes_an_end_back(shop: Shop, act: str) -> None:
    @shop.app.get("/reload")
    def reload() -> str:
        getattr(ours(), act)()
        ours().reload()
        return str(session["a"])

    sid = shop.session_of(a=1)
    response = shop.visitor(sid).get("/reload")
    assert response.text == "1"
    assert set_cookies(response) == []
    assert shop.read(sid) == {"a": 1}


def log_in() -> None:
    session["user_id"] = 7


def begin_anew() -> None:
    session.clear()
    session["b"] = 1


@pytest.mark.parametrize("act", [log_in, begin_anew, lambda: ours().regenerate()])
@pytest.mark.parametrize("again", ["reload", "exclusive"])
def test_what_was_committed_under_another_id_is_reloaded_from_there(
    shop: Shop, act: Callable[[], None], again: str
) -> None:
    @shop.app.get("/commit")
    def commit() -> dict[str, Any]:
        act()
        ours().commit()
        before = dict(session)
        if again == "reload":
            session["forgotten"] = 1
            ours().reload()
        else:
            with shop.kit.sessions.exclusive():
                session["guarded"] = before["guarded"] = 1
        assert dict(session) == before
        return before

    client = shop.visitor(shop.session_of(a=1))
    sent = client.get("/commit")
    assert len(set_cookies(sent)) == 1
    assert shop.read(sid_of(client)) == sent.json


def test_a_visitor_without_a_session_reloads_nothing(shop: Shop) -> None:
    @shop.app.get("/reload")
    def reload() -> str:
        session["a"] = 1
        ours().reload()
        return str(dict(session))

    response = shop.visitor().get("/reload")
    assert response.text == "{}"
    assert set_cookies(response) == []


def test_a_visitor_without_a_session_can_commit_and_reload(shop: Shop) -> None:
    @shop.app.get("/both")
    def both() -> str:
        ours().reload()
        ours().commit()
        return str(dict(session))

    response = shop.visitor().get("/both")
    assert response.text == "{}"
    assert set_cookies(response) == []


@pytest.mark.parametrize("after", [100, 100.0, timedelta(seconds=100)])
def test_a_session_may_have_a_life_of_its_own(
    shop: Shop, redis_client: redis.Redis, after: timedelta | float
) -> None:
    @shop.app.get("/expiry")
    def expiry() -> str:
        ours().set_expiry(after)
        session["a"] = 2
        return ""

    @shop.app.get("/no-expiry")
    def no_expiry() -> str:
        ours().set_expiry(None)
        return ""

    visitor = shop.visitor()
    visitor.get("/expiry")
    sid = sid_of(visitor)
    assert 80 < redis_client.ttl(shop.key(sid)) <= 100
    redis_client.expire(shop.key(sid), 50)
    visitor.get("/get/a")
    assert 80 < redis_client.ttl(shop.key(sid)) <= 100
    visitor.get("/login/7")
    assert sid_of(visitor) != sid
    assert 80 < redis_client.ttl(shop.key(sid_of(visitor))) <= 100
    assert visitor.get("/no-expiry").status_code == 200
    assert redis_client.ttl(shop.key(sid_of(visitor))) > 100
    assert visitor.get("/get/a").text == "2"


def test_an_expiry_alone_is_stored_and_a_permanent_cookie_follows_it(shop: Shop) -> None:
    @shop.app.get("/remember")
    def remember() -> str:
        ours().set_expiry(timedelta(days=365))
        session.permanent = True
        return ""

    @shop.app.get("/short")
    def short() -> str:
        ours().set_expiry(10)
        return ""

    sid = shop.session_of(a=1)
    shop.visitor(sid).get("/remember")
    client = shop.app.test_client()
    client.set_cookie("session", sid)
    response = client.get("/set/a/3")
    expires = response.headers["Set-Cookie"].partition("Expires=")[2].partition(";")[0]
    found = datetime.strptime(expires, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert found - datetime.now(UTC) > timedelta(days=364)
    client.get("/short")
    with client.session_transaction() as found_now:
        assert dict(found_now) == {"a": "3", "_permanent": True}
        assert isinstance(found_now, RedisSession)
        assert found_now.contents.life == 10


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), timedelta(0)])
def test_an_expiry_that_can_not_be_is_refused(shop: Shop, wrong: timedelta | float) -> None:
    with (
        shop.app.test_request_context(),
        pytest.raises(ValueError, match=r"set_expiry\("),
    ):
        ours().set_expiry(wrong)


def test_a_session_knows_since_when_it_is_and_keeps_it_under_another_id(shop: Shop) -> None:
    moments: list[datetime | None] = []

    @shop.app.get("/age")
    def age() -> str:
        moments.append(ours().created_at)
        return str(ours().is_new)

    visitor = shop.visitor()
    assert visitor.get("/age").text == "True"
    visitor.get("/set/a/1")
    assert visitor.get("/age").text == "False"
    visitor.get("/regenerate")
    visitor.get("/age")
    visitor.get("/anew/7")
    visitor.get("/age")
    assert moments[0] is None
    first, second, third = moments[1:]
    assert first is not None
    assert third is not None
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=1)
    assert first == second
    assert third > first


def test_the_life_of_a_session_is_told_by_signals_and_counted(
    shop: Shop,
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    signals = {
        "created": session_created,
        "rotated": session_rotated,
        "destroyed": session_destroyed,
        "rejected": session_rejected,
    }

    def note_of(name: str) -> Any:
        def note(sender: object, **facts: Any) -> None:
            assert sender is shop.kit.sessions.engine()
            told.append((name, facts))

        return note

    def counted(name: str) -> int:
        with shop.app.app_context():
            counts = shop.kit.sessions.context().counters.read()
        return counts.get(("session", name), 0)

    before = {name: counted(name) for name in signals}
    notes = {name: note_of(name) for name in signals}
    for name, signal in signals.items():
        signal.connect(notes[name])
    try:
        visitor = shop.visitor()
        visitor.get("/set/a/1")
        first = digest_of(sid_of(visitor))
        visitor.get("/login/7")
        second = digest_of(sid_of(visitor))
        old = sid_of(visitor)
        visitor.get("/clear")
        shop.visitor(old).get("/get/a")
        shop.visitor("A" * 43).get("/get/a")
        shop.visitor("rubbish").get("/untouched")
    finally:
        for name, signal in signals.items():
            signal.disconnect(notes[name])
    assert told == [
        ("created", {"session": first, "user": None}),
        ("rotated", {"session": second, "previous": first, "user": "7"}),
        ("destroyed", {"session": second}),
        ("rejected", {"session": second, "reason": "ended"}),
        ("rejected", {"session": digest_of("A" * 43), "reason": "unknown"}),
        ("rejected", {"session": None, "reason": "malformed"}),
    ]
    by_now = {name: counted(name) - before[name] for name in signals}
    assert by_now == {"created": 1, "rotated": 1, "destroyed": 1, "rejected": 3}
    assert counted("loaded") > 0
