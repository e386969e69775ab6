"""Flask's own ways of using a session."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from flask import Flask, copy_current_request_context, request_finished, session
from flask.typing import ResponseReturnValue

from flask_redis_kit import RedisKit, RedisSessionInterface
from tests.harness.proxy import Proxy
from tests.sessions.conftest import MakeShop
from tests.sessions.shop import Shop, set_cookies, sid_of


def test_a_test_can_prepare_and_look_at_a_session(shop: Shop) -> None:
    visitor = shop.visitor()
    with visitor.session_transaction() as prepared:
        prepared["a"] = ("from", "the test")
    assert visitor.get("/get/a").text == "('from', 'the test')"
    visitor.get("/set/a/changed")
    with visitor.session_transaction() as found:
        assert dict(found) == {"a": "changed"}
        found.clear()
    assert sid_of(visitor) == ""


def test_a_test_can_look_at_the_session_after_a_request(shop: Shop) -> None:
    with shop.visitor() as visitor:
        visitor.get("/set/a/1")
        assert session["a"] == "1"
        visitor.get("/untouched")
        assert session["a"] == "1"


def test_messages_are_flashed_once_and_keep_their_types(shop: Shop) -> None:
    visitor = shop.visitor(shop.session_of(a=1))
    visitor.get("/flash/one")
    visitor.get("/flash/two")
    assert visitor.get("/flashed").text == "[('info', 'one'), ('info', 'two')]"
    assert visitor.get("/flashed").text == "[]"
    assert visitor.get("/get/a").text == "1"


def test_a_visitor_without_a_cookie_can_be_flashed(shop: Shop) -> None:
    visitor = shop.visitor()
    visitor.get("/flash/one")
    assert visitor.get("/flashed").text == "[('info', 'one')]"


def test_a_thread_of_the_request_shares_its_session(shop: Shop) -> None:
    @shop.app.get("/threads")
    def threads() -> str:
        def work(name: str) -> None:
            session["cart"].append(name)
            session[name] = True

        workers = [
            threading.Thread(target=copy_current_request_context(work), args=(f"t{n}",))
            for n in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return ""

    sid = shop.session_of(cart=[])
    shop.visitor(sid).get("/threads")
    found = shop.read(sid)
    names = {f"t{n}" for n in range(4)}
    assert set(found.pop("cart")) == names
    assert found == dict.fromkeys(names, True)


def test_a_streamed_body_may_read_the_session_but_not_write_it(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    from flask import stream_with_context

    @shop.app.get("/stream")
    def stream() -> ResponseReturnValue:
        def body() -> Iterator[str]:
            yield session["a"]
            session["b"] = 1

        # not started before the session is saved
        return shop.app.response_class(stream_with_context(body()))

    sid = shop.session_of(a="streamed")
    assert shop.visitor(sid).get("/stream").text == "streamed"
    assert shop.read(sid) == {"a": "streamed"}
    assert "after it was saved" in caplog.text


def test_a_view_that_fails_keeps_what_it_wrote(shop: Shop) -> None:
    @shop.app.get("/fails")
    def fails() -> str:
        session["a"] = 2
        raise ZeroDivisionError

    sid = shop.session_of(a=1)
    assert shop.visitor(sid).get("/fails").status_code == 500
    assert shop.read(sid) == {"a": 2}


def test_a_response_that_has_to_be_made_again_gets_the_cookie_too(
    counted: Shop, proxy: Proxy
) -> None:
    def fail(_: Flask, **__: object) -> None:
        raise ZeroDivisionError

    visitor = counted.visitor()
    with request_finished.connected_to(fail, counted.app), proxy.counting() as count:
        response = visitor.get("/set/a/1")
    assert response.status_code == 500
    assert count.trips == 1
    assert len(set_cookies(response)) == 1
    assert visitor.get("/get/a").text == "1"


def test_flasks_defaults_are_kept(shop: Shop) -> None:
    (cookie,) = set_cookies(shop.visitor().get("/set/a/1"))
    assert cookie.endswith("; HttpOnly; Path=/")


def test_a_value_that_cannot_be_stored_is_an_error_and_changes_nothing(shop: Shop) -> None:
    sid = shop.session_of(a=1)
    visitor = shop.visitor(sid)
    with pytest.raises(TypeError, match=r"session\['a'\]"), visitor.session_transaction() as found:
        found.update(b=2, a=object())
    assert shop.read(sid) == {"a": 1}


def test_a_session_ends_even_if_the_next_one_cannot_be_stored(shop: Shop) -> None:
    @shop.app.get("/anew-with-an-object")
    def anew_with_an_object() -> str:
        session.clear()
        session["a"] = object()
        return ""

    sid = shop.session_of(a=1)
    visitor = shop.visitor(sid)
    assert visitor.get("/anew-with-an-object").status_code == 500
    assert sid_of(visitor) == ""
    assert shop.read(sid) == {}


def test_sessions_that_are_off_forget_everything(
    make_shop: MakeShop, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    shop = make_shop(proxy.url, REDIS_SESSIONS_ENABLED=False)
    visitor = shop.visitor("A" * 43)
    response = visitor.get("/anew/7")
    assert response.status_code == 200
    assert set_cookies(response) == []
    for path in ("/get/user_id", "/clear", "/regenerate", "/login/7", "/append/x"):
        assert set_cookies(visitor.get(path)) == []
    assert visitor.get("/get/user_id").text == "None"
    assert proxy.commands == []
    warnings = [r for r in caplog.records if "REDIS_SESSIONS_ENABLED" in r.getMessage()]
    assert len(warnings) == 1


def test_sessions_that_are_off_still_send_what_others_deferred(
    make_shop: MakeShop, proxy: Proxy
) -> None:
    shop = make_shop(proxy.url, REDIS_SESSIONS_ENABLED=False)
    sent: list[int] = []

    def note(_: Flask, **__: object) -> None:
        sent.append(len(proxy.commands))

    with request_finished.connected_to(note, shop.app):  # before the request is torn down
        shop.visitor().get("/defer/alone")
    assert sent == [1]
    with shop.app.app_context():
        shop.kit.client.delete("x")


@pytest.mark.parametrize("wrong", [None, "kit", Flask("x"), RedisKit(features=("cache",))])
def test_the_interface_wants_a_kit_with_sessions(wrong: object) -> None:
    with pytest.raises(TypeError, match="RedisKit that has the feature 'sessions'"):
        RedisSessionInterface(wrong)  # type: ignore[arg-type]


def test_an_application_without_the_kit_is_told_what_is_missing() -> None:
    app = Flask("forgetful")
    app.session_interface = RedisSessionInterface(RedisKit(features=("sessions",)))
    app.testing = True
    with pytest.raises(RuntimeError, match="init_app"):
        app.test_client().get("/")
