"""One user's page is never served to another."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import pytest
import redis
from flask import Flask, flash, g, render_template_string, session

from flask_redis_kit import cache_result
from tests.cache.test_route import was_hit


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.set_level(logging.WARNING, "flask_redis_kit.cache")
    return caplog.messages


def login(app: Flask, name: str) -> None:
    """Not a view of its own: every client logs in by a header-less form."""
    app.add_url_rule("/login/<name>", "login", lambda name: session.update(name=name) or "")


def test_a_view_that_reads_the_session_is_refused_with_one_warning(
    app: Flask, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    login(app, "alice")

    @app.get("/")
    @cache_result()
    def home() -> str:
        return f"Hello {session.get('name')}"

    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    for _ in range(2):
        assert alice.get("/").text == "Hello alice"
        assert bob.get("/").text == "Hello bob"
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))
    assert len(caplog.messages) == 1
    assert "The route 'home' is not cached: it reads the session" in caplog.messages[0]
    assert "public=True" in caplog.messages[0]


def test_a_user_loaded_before_the_view_counts(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    login(app, "alice")

    @app.before_request
    def load() -> None:
        g.user = session.get("name")

    @app.get("/")
    @cache_result()
    def home() -> str:
        return f"Hello {g.user}"

    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    response = alice.get("/")
    assert response.headers["Cache-Status"] == "shop; fwd=bypass; detail=session"
    assert bob.get("/").text == "Hello None"
    assert len(caplog.messages) == 1


def test_a_session_read_after_the_view_counts_too(
    app: Flask, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    @app.after_request
    def greet(response):  # type: ignore[no-untyped-def]
        response.headers["X-Name"] = session.get("name", "nobody")
        return response

    app.add_url_rule("/", "home", cache_result()(lambda: "x"))
    for _ in range(2):
        assert not was_hit(app.test_client().get("/"))
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))
    assert len(caplog.messages) == 1


def test_a_public_view_may_read_the_session(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    @app.get("/")
    @cache_result(public=True)
    def home() -> str:
        return f"{'name' in session}"

    assert not was_hit(app.test_client().get("/"))
    assert was_hit(app.test_client().get("/"))
    assert not caplog.messages


def test_a_template_alone_does_not_read_the_session(app: Flask) -> None:
    app.add_url_rule("/", "home", cache_result()(lambda: render_template_string("{{ 1 + 1 }}")))
    app.test_client().get("/")
    assert was_hit(app.test_client().get("/"))


def test_a_flashed_message_is_shown_to_its_user_only(app: Flask) -> None:
    @app.get("/flash")
    def say() -> str:
        flash("for alice")
        return ""

    page = "{{ get_flashed_messages() }}"
    app.add_url_rule("/", "home", cache_result()(lambda: render_template_string(page)))
    alice = app.test_client()
    alice.get("/flash")
    assert "for alice" in alice.get("/").text
    assert "alice" not in app.test_client().get("/").text


def test_each_endpoint_is_warned_about(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        app.add_url_rule(f"/{name}", name, cache_result()(lambda: str(session.get("x"))))
    for path in ("/a", "/b", "/a", "/b"):
        app.test_client().get(path)
    assert [message.split()[2] for message in caplog.messages] == ["'a'", "'b'"]


def test_a_view_called_by_another_view_answers_each_user_for_himself(
    app: Flask, redis_client: redis.Redis
) -> None:
    login(app, "alice")

    @app.get("/me")
    @cache_result()
    def me() -> str:
        return f"Hello {session.get('name')}"

    @app.get("/")
    def home() -> str:
        return me()

    @app.get("/again")
    def again() -> str:
        return f"{'name' in session} {me()}"

    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    for path, start in (("/", ""), ("/again", "True ")):
        assert alice.get(path).text == f"{start}Hello alice"
        assert bob.get(path).text == f"{start}Hello bob"
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))


def test_what_a_cached_function_reads_of_the_session_is_nobody_elses(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    login(app, "alice")

    @cache_result()
    def greeting() -> str:
        return f"Hello {session.get('name')}"

    @cache_result(public=True)
    def terms() -> str:
        return f"Terms {session.get('name')}"

    @app.get("/")
    @cache_result()
    def home() -> str:
        return greeting()

    app.add_url_rule("/terms", "terms", lambda: terms())
    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    texts = [client.get("/").text for client in (alice, bob, app.test_client(), alice)]
    assert texts == ["Hello alice", "Hello bob", "Hello None", "Hello alice"]
    assert alice.get("/terms").text == bob.get("/terms").text == "Terms alice"
    assert sum("greeting: its result is not cached" in text for text in caplog.messages) == 1


@pytest.mark.parametrize(
    "read",
    [
        lambda: "name" in session,
        lambda: bool(session),
        lambda: len(session),
        lambda: list(session),
        lambda: sorted(session.items()),
        lambda: dict(session),
    ],
    ids=["in", "bool", "len", "loop", "items", "dict"],
)
def test_every_way_to_read_a_cookie_session_counts(app: Flask, read: Callable[[], object]) -> None:
    """Flask's own sessions noticed few of them before 3.1.3."""
    login(app, "alice")
    app.add_url_rule("/", "home", cache_result()(lambda: str(read())))
    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    hers = alice.get("/").text
    assert [client.get("/").text == hers for client in (bob, alice, bob)] == [False, True, False]


def without_wraps(view: Callable[[], str]) -> Callable[[], str]:
    def inner() -> str:
        return view()

    return inner


class ByClass:
    def __init__(self, view: Callable[[], str]) -> None:
        self.view = view

    def __call__(self) -> str:
        return self.view()


@pytest.mark.parametrize("read_before", [False, True], ids=["", "read before"])
@pytest.mark.parametrize("hide", [without_wraps, ByClass, functools.partial])
def test_a_view_hidden_by_a_decorator_reaches_its_own_user_only(
    app: Flask, hide: Callable[[Callable[[], str]], Callable[[], str]], read_before: bool
) -> None:
    login(app, "alice")
    if read_before:
        app.before_request(lambda: session.get("name") and None)

    @cache_result()
    def account() -> str:
        return f"secret of {session['name']}"

    app.add_url_rule("/account", "account", hide(account))
    alice, bob = app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    for _ in range(2):
        assert alice.get("/account").text == "secret of alice"
        assert bob.get("/account").text == "secret of bob"
