"""The session rule where Flask-Login knows who asks."""

from __future__ import annotations

import logging
from collections.abc import Callable

import flask_login
import pytest
import redis
from flask import Flask, request, session
from flask.typing import ResponseReturnValue
from werkzeug.test import TestResponse

from flask_redis_kit import RedisKit, RedisSessionInterface, cache_result
from tests.cache.conftest import MakeKit
from tests.cache.test_route import was_hit
from tests.harness.proxy import Proxy


class User(flask_login.UserMixin):  # type: ignore[misc]  # it has no types
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.fixture(params=["cookie sessions", "sessions in Redis"])
def kit(request: pytest.FixtureRequest, make_kit: MakeKit, proxy: Proxy) -> RedisKit:
    kit = make_kit(proxy.url, features=("cache", "sessions"))
    app = kit.state().app
    if request.param == "sessions in Redis":
        app.session_interface = RedisSessionInterface(kit)
    return kit


@pytest.fixture
def app(kit: RedisKit) -> Flask:
    """An application that loads the user before each request, and asks the login after it."""
    app = kit.state().app
    manager = flask_login.LoginManager(app)
    manager.user_loader(User)

    @app.get("/login/<name>")
    def login(name: str) -> str:
        flask_login.login_user(User(name), remember=True)
        return ""

    @app.get("/logout")
    def logout() -> str:
        flask_login.logout_user()
        return ""

    @app.before_request
    def load() -> ResponseReturnValue | None:
        assert flask_login.current_user.is_authenticated in (True, False)
        return None

    return app


def name() -> str:
    user = flask_login.current_user
    return f"Hello {user.get_id()}"


def ask(app: Flask) -> tuple[list[TestResponse], list[TestResponse]]:
    """Twice what alice, bob and nobody get."""
    alice, bob, nobody = app.test_client(), app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    first, second = ([client.get("/") for client in (alice, bob, nobody)] for _ in range(2))
    return first, second


def test_a_plain_route_is_refused_with_one_warning_that_says_the_cure(
    app: Flask, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_url_rule("/", "home", cache_result()(name))
    with caplog.at_level(logging.WARNING):
        for answers in ask(app):
            assert [each.text for each in answers] == ["Hello alice", "Hello bob", "Hello None"]
            assert {each.headers["Cache-Status"] for each in answers} == {
                "shop; fwd=bypass; detail=session"
            }
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))
    [message] = caplog.messages
    assert "The route 'home' is not cached: it reads the session" in message
    assert "public=True" in message
    assert "vary=[lambda: current_user.get_id()]" in message


def test_the_users_id_in_vary_makes_a_page_for_each(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_url_rule(
        "/", "home", cache_result(vary=[lambda: flask_login.current_user.get_id()])(name)
    )
    for answers, hit in zip(ask(app), (False, True), strict=True):
        assert [each.text for each in answers] == ["Hello alice", "Hello bob", "Hello None"]
        assert [was_hit(each) for each in answers] == [hit] * 3
        assert {each.headers["Cache-Control"] for each in answers} == {"private, no-cache"}
    assert not caplog.messages


def test_who_logs_out_is_nobody(app: Flask) -> None:
    app.add_url_rule(
        "/", "home", cache_result(vary=[lambda: flask_login.current_user.get_id()])(name)
    )
    client = app.test_client()
    texts = []
    for url in ("/", "/login/alice", "/", "/logout", "/", "/login/bob", "/"):
        text = client.get(url).text
        if url == "/":
            texts.append(text)
    assert texts == ["Hello None", "Hello alice", "Hello None", "Hello bob"]


def test_a_public_route_is_one_page_for_all(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    app.add_url_rule("/", "home", cache_result(public=True)(lambda: "the same"))
    first, second = ask(app)
    assert [was_hit(each) for each in first + second] == [False] + [True] * 5
    assert not caplog.messages


def test_a_user_that_nobody_loads_before_the_view_counts_as_well(
    make_kit: MakeKit, proxy: Proxy, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_kit(proxy.url).state().app
    flask_login.LoginManager(app).user_loader(User)
    app.add_url_rule("/login/<who>", "login", lambda who: str(flask_login.login_user(User(who))))
    app.add_url_rule("/", "home", cache_result()(name))
    for answers in ask(app):
        assert [each.text for each in answers] == ["Hello alice", "Hello bob", "Hello None"]
    assert not list(redis_client.scan_iter("frk:*:cache:[vw]:*"))
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "factor",
    [
        lambda: request.accept_languages.best_match(["de", "en"]),
        lambda: flask_login.current_user.is_authenticated,
        lambda: "bucket 7",
    ],
    ids=["language", "logged in or not", "bucket"],
)
def test_what_does_not_tell_users_apart_does_not_make_a_page_anybodys(
    app: Flask,
    factor: Callable[[], object],
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app.add_url_rule("/", "home", cache_result(vary=[factor])(name))
    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for client, text in ((alice, "Hello alice"), (bob, "Hello bob")):
                response = client.get("/", headers={"Accept-Language": "de"})
                assert response.text == text
                assert response.headers["Cache-Status"] == "shop; fwd=bypass; detail=session"
    assert not list(redis_client.scan_iter("frk:*:cache:[vw]:*"))
    [message] = caplog.messages
    assert "vary= gives does not stand in the session" in message


def test_public_says_that_vary_is_all_there_is(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    emails = {"alice": "a@x.test", "bob": "b@x.test", None: "nobody"}

    def email() -> str:
        return emails[flask_login.current_user.get_id()]

    app.add_url_rule("/", "home", cache_result(public=True, vary=[email])(email))
    for answers, hit in zip(ask(app), (False, True), strict=True):
        assert [each.text for each in answers] == ["a@x.test", "b@x.test", "nobody"]
        assert [was_hit(each) for each in answers] == [hit] * 3
    assert not caplog.messages


def test_a_page_for_nobody_with_a_session_is_not_stored(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """A visitor has a session, too: a token, a basket. Whose it is, None doesn't say."""
    app.add_url_rule("/basket", "basket", lambda: session.update(basket=[1]) or "")
    app.add_url_rule(
        "/", "home", cache_result(vary=[lambda: flask_login.current_user.get_id()])(name)
    )
    visitor, alice, stranger = (app.test_client() for _ in range(3))
    visitor.get("/basket")
    alice.get("/login/alice")
    assert [was_hit(alice.get("/")) for _ in range(2)] == [False, True]
    assert not any(was_hit(visitor.get("/")) for _ in range(2))
    assert visitor.get("/").text == "Hello None"
    assert [was_hit(stranger.get("/")) for _ in range(2)] == [False, True]
    assert not caplog.messages


def test_what_only_some_users_have_does_not_make_one_of_the_others(app: Flask) -> None:
    teams = {"alice": "red"}
    view = cache_result(vary=[lambda: teams.get(flask_login.current_user.get_id())])(name)
    app.add_url_rule("/", "home", view)
    alice, bob, carol = (app.test_client() for _ in range(3))
    for client, user in ((alice, "alice"), (bob, "bob"), (carol, "carol")):
        client.get(f"/login/{user}")
        assert client.get("/").text == f"Hello {user}"
    assert [client.get("/").text for client in (alice, bob, carol)] == [
        "Hello alice",
        "Hello bob",
        "Hello carol",
    ]
