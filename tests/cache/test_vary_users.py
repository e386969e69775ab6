"""``vary=`` that says who asks: one page for each user, and never one user's for another."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis
from flask import Flask, g, request, session

from flask_redis_kit import RedisSessionInterface, cache_result
from flask_redis_kit.cache.telling import tells_users_apart
from tests.cache.conftest import MakeKit
from tests.cache.test_route import was_hit
from tests.cache.test_vary import said


def login(app: Flask) -> None:
    app.add_url_rule("/login/<name>", "login", lambda name: session.update(name=name) or "")


def test_a_function_that_says_who_asks_allows_to_read_the_session(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    login(app)

    @app.get("/")
    @cache_result(vary=[lambda: session.get("name")])
    def home() -> str:
        return f"Hello {session.get('name')}"

    alice, bob, nobody = app.test_client(), app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    for hit in (False, True):
        for client, name in ((alice, "alice"), (bob, "bob"), (nobody, "None")):
            response = client.get("/")
            assert response.text == f"Hello {name}"
            assert was_hit(response) is hit
    assert not caplog.messages


def test_a_function_that_has_not_asked_the_session_does_not_say_who_asks(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    login(app)

    @app.get("/")
    @cache_result(vary=[lambda: request.accept_languages.best])
    def home() -> str:
        return f"Hello {session.get('name')}"

    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    english = {"Accept-Language": "en"}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert alice.get("/", headers=english).text == "Hello alice"
            assert bob.get("/", headers=english).text == "Hello bob"
    assert sum("reads the session" in text for text in caplog.messages) == 1


def test_a_header_that_does_not_say_who_asks_leaves_the_rule_as_it_is(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    login(app)
    app.before_request(lambda: session.get("name") and None)
    app.add_url_rule("/", "home", cache_result(vary=["Accept"])(lambda: str(session.get("name"))))
    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    assert [alice.get("/").text, bob.get("/").text] == ["alice", "bob"]
    assert len(caplog.messages) == 1


def test_the_cookie_header_says_who_asks(app: Flask) -> None:
    login(app)
    app.add_url_rule("/", "home", cache_result(vary=["Cookie"])(lambda: str(session.get("name"))))
    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    for hit in (False, True):
        for client, name in ((alice, "alice"), (bob, "bob")):
            response = client.get("/")
            assert (response.text, was_hit(response)) == (name, hit)


@pytest.mark.parametrize("sessions", ["in the cookie", "in redis"])
@pytest.mark.parametrize("vary", [[], [lambda: session.get("lang")]])
def test_what_is_made_of_a_result_by_cookie_is_that_visitors(
    make_kit: MakeKit, redis_url: str, sessions: str, vary: list[Any]
) -> None:
    features = ("cache",) if sessions == "in the cookie" else ("cache", "sessions")
    kit = make_kit(redis_url, features=features)
    app = kit.state().app
    if sessions == "in redis":
        app.session_interface = RedisSessionInterface(kit)
    login(app)

    @cache_result(vary=["Cookie"])
    def greeting() -> str:
        return f"Hello {session.get('name')}"

    @cache_result()
    def banner() -> str:
        return greeting().upper()

    urls = ["/banner"]
    app.add_url_rule("/banner", "banner", lambda: banner())
    if not vary or sessions == "in redis":  # of one in the cookie a function is taken at its word
        urls.append("/home")
        app.add_url_rule("/home", "home", cache_result(vary=vary)(lambda: greeting().upper()))
    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    for url in urls:
        texts = [client.get(url).text for client in (alice, alice, alice, bob, alice)]
        assert texts == ["HELLO ALICE"] * 3 + ["HELLO BOB", "HELLO ALICE"], url


def test_the_authorization_header_as_a_variant(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result(vary=["Authorization"])(said("Authorization")))
    client = app.test_client()
    for hit in (False, True):
        for who in ("Bearer alice", "Bearer bob", None):
            headers = {} if who is None else {"Authorization": who}
            response = client.get("/", headers=headers)
            assert (response.text, was_hit(response)) == (f"for {who!r}", hit)
            assert response.headers["Cache-Control"] == "private, no-cache"


def test_a_view_called_by_another_view_has_its_variants_too(app: Flask) -> None:
    @app.get("/inner")
    @cache_result(vary=["X-Tenant", lambda: request.headers.get("X-User")])
    def inner() -> str:
        return f"{request.headers.get('X-Tenant')} {request.headers.get('X-User')}"

    app.add_url_rule("/outer", "outer", lambda: inner())
    client = app.test_client()
    for _ in range(2):
        for tenant, user in (("a", "alice"), ("a", "bob"), ("b", "bob")):
            headers = {"X-Tenant": tenant, "X-User": user}
            for url in ("/inner", "/outer"):
                assert client.get(url, headers=headers).text == f"{tenant} {user}"


def test_a_view_that_says_who_asks_is_cached_when_another_view_calls_it(app: Flask) -> None:
    login(app)
    calls: list[str] = []

    @app.get("/inner")
    @cache_result(vary=[lambda: session.get("name")])
    def inner() -> str:
        calls.append(session["name"])
        return f"inner of {session['name']}"

    app.add_url_rule("/outer", "outer", lambda: f"{'name' in session} {inner()}")
    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    for _ in range(2):
        assert alice.get("/outer").text == "True inner of alice"
        assert bob.get("/outer").text == "True inner of bob"
    assert calls == ["alice", "bob"]


def test_a_function_does_not_stand_for_the_authorization_header(
    app: Flask, redis_client: redis.Redis
) -> None:
    app.add_url_rule("/", "page", cache_result(vary=[lambda: "de"])(said("Authorization")))
    for who in ("alice", "bob"):
        response = app.test_client().get("/", headers={"Authorization": who})
        assert response.text == f"for {who!r}"
    assert not list(redis_client.scan_iter("frk:*:cache:v:*"))


def test_the_authorization_header_does_not_stand_for_the_session(app: Flask) -> None:
    login(app)

    @app.before_request
    def load() -> None:
        g.name = session.get("name") if request.cookies else "nobody"

    app.add_url_rule("/", "home", cache_result(vary=["Authorization"])(lambda: str(g.name)))
    alice, bob, nobody = app.test_client(), app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    for hit in (False, True):
        response = nobody.get("/")
        assert (response.text, was_hit(response)) == ("nobody", hit)
        assert [alice.get("/").text, bob.get("/").text] == ["alice", "bob"]


@pytest.mark.parametrize(
    ("results", "contents", "tells"),
    [
        ([7], {"user_id": 7}, True),
        ([7], {"_user_id": "7"}, True),
        (["de", 7], {"user": {"profile": {"id": 7}}}, True),
        (["de"], {"user_id": 7, "langs": ["en", "de"]}, True),
        (["de"], {"user_id": 7}, False),
        ([True], {"fresh": True}, False),
        ([""], {"name": ""}, False),
        ([("a", 1)], {"name": "a"}, False),
        ([None], {"user_id": 7}, None),
        ([None, None], {"none": None, "token": "x"}, None),
        ([None, "de"], {"user_id": 7}, False),
        (["de"], {}, True),
        ([7], {"deep": [[[[[7]]]]]}, False),
        ([9999], {"many": list(range(10_000))}, False),
    ],
)
def test_what_tells_users_apart(
    results: list[object], contents: dict[str, Any], tells: bool | None
) -> None:
    assert tells_users_apart(results, contents) is tells
