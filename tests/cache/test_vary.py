"""``vary=``: one page for each variant, and never one variant for another."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import pytest
from flask import Flask, g, request
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import Accept, LanguageAccept, MIMEAccept
from werkzeug.http import parse_accept_header

from flask_redis_kit import RedisKit, cache_result
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
        ("accept-language", "e n", "en", False),
        ("accept-language", "en;q=5", "en", False),
        ("accept-language", "en;q=1.5,de", "en,de", False),
        ("accept-language", "en;q=0.5;q=1", "en;q=0.5", False),
        ("accept-language", ",en", "en", False),
        ("accept", "text/ html", "text/html", False),
        ("accept", "text/html;q", "text/html", False),
        ("accept", "text/html;v=a;q=0.5, */*", "*/*,text/html; v=a;Q=0.500", True),
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


_PIECES = (
    "en de EN en-US * */* text/html a/b ; , = q ;q=0.5 ;Q=0.50 ;q=1 ;q=5 ;q=.5 ;q=0 ;v=a \t -1"
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*_PIECES.split(" "), " "]), max_size=8).map("".join))
def test_what_is_spelled_one_way_is_read_one_way(value: str) -> None:
    """By the parser that views use; the same spelling again is the same."""
    kinds: list[tuple[str, type[Accept], list[str]]] = [
        ("accept-language", LanguageAccept, ["en", "de", "fr"]),
        ("accept", MIMEAccept, ["text/html", "a/b", "text/html;v=a"]),
    ]
    for name, kind, offers in kinds:
        spelled = normalised(name, value)
        assert normalised(name, spelled) == spelled
        one, other = (parse_accept_header(each, kind) for each in (value, spelled))
        assert [one.quality(each) for each in offers] == [other.quality(each) for each in offers]
        assert one.best_match(offers) == other.best_match(offers)
