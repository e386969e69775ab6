"""``vary=``: one page for each variant, and never one variant for another."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
import redis
from flask import Flask, g, request, session

from flask_redis_kit import RedisKit, cache_result
from flask_redis_kit.cache.telling import tells_users_apart
from flask_redis_kit.cache.variants import normalised
from tests.cache.test_route import Page, was_hit
from tests.harness.proxy import Proxy


def said(name: str) -> Callable[[], str]:
    return lambda: f"for {request.headers.get(name)!r}"


def test_each_value_of_a_header_has_its_page(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result(vary=["X-Tenant"])(said("X-Tenant")))
    client = app.test_client()
    for _ in range(2):
        for tenant in ("a", "A", "b", ""):
            response = client.get("/", headers={"X-Tenant": tenant})
            assert response.text == f"for {tenant!r}"
            assert response.headers["Vary"] == "X-Tenant"
        assert client.get("/").text == "for None", "absent is not empty"
    assert was_hit(client.get("/", headers={"x-tenant": " b "}))


def test_a_vary_of_the_view_is_covered_by_the_decorators(app: Flask) -> None:
    page = Page(lambda: ("x", {"Vary": "Accept-Language, X-A"}))
    app.add_url_rule("/", "page", cache_result(vary=["x-a", "accept-language"])(page.view))
    app.test_client().get("/")
    response = app.test_client().get("/")
    assert was_hit(response)
    assert response.headers.getlist("Vary") == ["Accept-Language, X-A"]


def test_a_vary_of_the_view_that_is_not_declared_is_not_stored(app: Flask) -> None:
    page = Page(lambda: ("x", {"Vary": "X-A, X-B"}))
    app.add_url_rule("/", "page", cache_result(vary=["X-A"])(page.view))
    for _ in range(2):
        response = app.test_client().get("/")
        assert response.headers["Cache-Status"] == "shop; fwd=miss; detail=vary"
    assert page.calls == 2


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        ("accept-language", "de, en;q=0.8", "DE,en ; Q=0.80", True),
        ("accept-language", "de,en;q=0.8", "en;q=0.8,de", True),
        ("accept-language", "de,en", "en,de", False),
        ("accept-language", "de;q=0.5,en", "de,en;q=0.5", False),
        ("accept-language", "de;q=0", "de", False),
        ("accept-encoding", "gzip, br", "br,gzip", True),
        ("accept-encoding", "gzip, br;q=0", "gzip, br", False),
        ("accept-encoding", "gzip;q=1.0", "gzip", True),
        ("accept", "text/html;level=1", "TEXT/html; level=1", True),
        ("accept", "text/html;v=A", "text/html;v=a", False),
        ("accept", 'a/b;p="x,y"', 'a/b;p="y,x"', False),
        ("cookie", "a=1; b=2", "b=2; a=1", False),
        ("authorization", "Bearer a", "Bearer A", False),
    ],
)
def test_what_is_the_same_preference(name: str, one: str, other: str, same: bool) -> None:
    assert (normalised(name, one) == normalised(name, other)) is same


def test_a_header_too_long_for_a_key_goes_to_the_view(app: Flask) -> None:
    page = Page()
    app.add_url_rule("/", "page", cache_result(vary=["X-A"])(page.view))
    for _ in range(2):
        response = app.test_client().get("/", headers={"X-A": "x" * 4097})
        assert response.headers["Cache-Status"] == "shop; fwd=bypass; detail=vary"
    assert page.calls == 2


def test_each_result_of_a_function_has_its_page(app: Flask) -> None:
    @app.get("/")
    @cache_result(vary=[lambda: request.headers.get("X-User"), lambda: None])
    def page() -> str:
        return str(request.headers.get("X-User"))

    client = app.test_client()
    for _ in range(2):
        for user in ("alice", "bob", "None"):
            assert client.get("/", headers={"X-User": user}).text == user
        assert client.get("/").text == "None"
    assert was_hit(client.get("/", headers={"X-User": "alice"}))


def test_what_a_function_gives_must_have_an_identity(app: Flask) -> None:
    app.testing = True
    app.add_url_rule("/", "page", cache_result(vary=[lambda: object()])(Page().view))
    with pytest.raises(TypeError, match=r"vary\[0\] gives contains a builtins.object"):
        app.test_client().get("/")


def test_a_page_for_each_user_is_kept_by_no_other_cache(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result(vary=[lambda: 1])(Page().view))
    own = Page(lambda: ("x", {"Cache-Control": "max-age=5"}))
    app.add_url_rule("/own", "own", cache_result(vary=[lambda: 1])(own.view))
    for hit in (False, True):
        response = app.test_client().get("/")
        assert was_hit(response) is hit
        assert response.headers.getlist("Cache-Control") == ["private, no-cache"]
        assert app.test_client().get("/own").headers["Cache-Control"] == "max-age=5"


def test_a_function_runs_at_its_place_and_not_before(kit: RedisKit, app: Flask) -> None:
    """Authentication comes first; so nothing is looked up ahead of it."""
    order: list[str] = []

    def user() -> str:
        order.append("who asks?")
        return g.get("user", "nobody")  # type: ignore[no-any-return]  # of Flask's `g`

    def authenticated(view: Callable[[], str]) -> Callable[[], str]:
        @wraps(view)
        def wrapper() -> str:
            kit.cache.get("unrelated")  # would take a planned look-up along
            order.append("authentication")
            g.user = request.headers["X-User"]
            return view()

        return wrapper

    @app.get("/")
    @authenticated
    @cache_result(vary=[user])
    def page() -> str:
        return str(g.user)

    for hit in (False, True):
        for name in ("alice", "bob"):
            order.clear()
            response = app.test_client().get("/", headers={"X-User": name})
            assert (response.text, was_hit(response)) == (name, hit)
            assert order == ["authentication", "who asks?"]


def test_headers_alone_are_looked_up_ahead(kit: RedisKit, app: Flask, proxy: Proxy) -> None:
    def asks_first(view: Callable[[], str]) -> Callable[[], str]:
        @wraps(view)
        def wrapper() -> str:
            kit.cache.get("unrelated")
            return view()

        return wrapper

    app.add_url_rule("/", "page", asks_first(cache_result(vary=["X-Tenant"])(said("X-Tenant"))))
    client = app.test_client()
    for tenant in ("a", "b", "a"):
        with proxy.counting() as count:
            assert client.get("/", headers={"X-Tenant": tenant}).text == f"for {tenant!r}"
    assert count.trips == 1


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
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert alice.get("/").text == "Hello alice"
            assert bob.get("/").text == "Hello bob"
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
