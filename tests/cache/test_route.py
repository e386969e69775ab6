"""``@cache_result`` on views: what is served, what is stored, what never is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask, Response, make_response, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound
from werkzeug.test import EnvironBuilder

from flask_redis_kit import cache_result

Counted = Callable[..., ResponseReturnValue]


class Page:
    """A view that counts its calls; what it answers can be changed."""

    def __init__(self, answer: Callable[[], Any] = lambda: "hello") -> None:
        self.calls = 0
        self.answer = answer

    def view(self, **_: object) -> Any:
        self.calls += 1
        return self.answer()


def status_of(response: Response | Any) -> str:
    """The part of Cache-Status after the cache's name, without figures."""
    return str(response.headers["Cache-Status"]).partition("; ")[2].partition("=")[0]


def was_hit(response: Response | Any) -> bool:
    return status_of(response).startswith("hit")


def test_a_view_is_answered_from_the_cache(app: Flask) -> None:
    page = Page(lambda: ({"x": 1}, 203, {"X-Extra": "yes"}))
    app.add_url_rule("/", "page", cache_result()(page.view))
    client = app.test_client()
    first, second = client.get("/"), client.get("/")
    assert page.calls == 1
    for response in (first, second):
        assert response.status_code == 203
        assert response.json == {"x": 1}
        assert response.headers["X-Extra"] == "yes"
        assert response.content_type == "application/json"
    assert first.headers["Cache-Status"] == "shop; fwd=miss; stored"
    assert second.headers["Cache-Status"] in ("shop; hit; ttl=299", "shop; hit; ttl=300")
    assert second.headers["Age"] == "0"
    assert "Age" not in first.headers


def test_age_and_ttl_come_from_the_server(app: Flask, redis_client: redis.Redis) -> None:
    app.add_url_rule("/", "page", cache_result(ttl=100)(Page().view))
    client = app.test_client()
    client.get("/")
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    redis_client.pexpire(key, 70_990)  # time enough for a busy machine
    response = client.get("/")
    assert response.headers["Age"] == "29"
    assert response.headers["Cache-Status"] == "shop; hit; ttl=70"


def test_a_known_etag_is_answered_with_304(app: Flask) -> None:
    page = Page()
    app.add_url_rule("/", "page", cache_result()(page.view))
    client = app.test_client()
    etag = client.get("/").headers["ETag"]
    response = client.get("/", headers={"If-None-Match": etag})
    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == etag
    assert was_hit(response)
    assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200
    assert page.calls == 1


def test_the_views_own_etag_stays(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result()(Page(lambda: ("x", {"ETag": '"mine"'})).view))
    client = app.test_client()
    assert client.get("/").headers["ETag"] == client.get("/").headers["ETag"] == '"mine"'


def test_head_is_served_from_gets_entry_and_never_stored(app: Flask) -> None:
    page = Page()
    app.add_url_rule("/", "page", cache_result()(page.view))
    client = app.test_client()
    assert not was_hit(client.head("/"))
    assert not was_hit(client.get("/"))
    response = client.head("/")
    assert was_hit(response)
    assert response.data == b""
    assert response.headers["Content-Length"] == "5"
    assert page.calls == 2


def test_other_methods_go_to_the_view(app: Flask) -> None:
    page = Page()
    app.add_url_rule("/", "page", cache_result()(page.view), methods=["GET", "POST"])
    client = app.test_client()
    client.get("/")
    for _ in range(2):
        response = client.post("/")
        assert "Cache-Status" not in response.headers
    assert page.calls == 3


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("/p/1", "/p/2", False),
        ("/p/1?a=1&b=2", "/p/1?b=2&a=1", True),
        ("/p/1?a=1&a=2", "/p/1?a=2&a=1", False),
        ("/p/1?a=1", "/p/1?a=1&utm_source=x&gclid=y&fbclid=z", True),
        ("/p/1?a=1", "/p/1", False),
        ("/p/1?a=", "/p/1?a", True),
        ("/p/1?a=1%26b%3D2", "/p/1?a=1&b=2", False),
        ("http://a.test/p/1", "http://b.test/p/1", False),
        ("http://a.test/p/1", "https://a.test/p/1", False),
    ],
)
def test_what_is_the_same_page(app: Flask, first: str, second: str, same: bool) -> None:
    app.add_url_rule("/p/<int:i>", "page", cache_result()(Page().view))
    client = app.test_client()
    client.get(first)
    assert was_hit(client.get(second)) is same


def test_the_same_application_below_another_path_is_another_page(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result()(Page().view))
    client = app.test_client()
    client.get("/")
    assert not was_hit(client.get("/", environ_overrides={"SCRIPT_NAME": "/below"}))


@pytest.mark.parametrize(
    "query", ["&".join(f"p{n}=1" for n in range(65)), "a=" + "x" * 4100], ids=["many", "long"]
)
def test_a_query_too_large_for_a_key_goes_to_the_view(app: Flask, query: str) -> None:
    page = Page()
    app.add_url_rule("/", "page", cache_result()(page.view))
    for _ in range(2):
        response = app.test_client().get(f"/?{query}")
        assert response.headers["Cache-Status"] == "shop; fwd=bypass; detail=query"
    assert page.calls == 2


def _with_cookie() -> Response:
    response = make_response("x")
    response.set_cookie("a", "b")
    return response


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_with_cookie, "it sets a cookie"),
        (lambda: ("x", {"Vary": "*"}), "it varies by *"),
        (lambda: ("x", {"Vary": "Accept-Language"}), "it varies by Accept-Language"),
        (lambda: Response(iter(["a", "b"])), "it streams"),
        (lambda: Response("x", direct_passthrough=True), "it streams"),
        (lambda: ("x", {"Cache-Control": "private"}), None),
        (lambda: ("x", {"Cache-Control": "no-store"}), None),
        (lambda: ("x", 500), None),
        (lambda: ("x", 201), None),
        (lambda: redirect("/elsewhere"), None),
    ],
)
def test_what_is_never_stored(
    app: Flask,
    answer: Callable[[], Any],
    said: str | None,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = Page(answer)
    app.add_url_rule("/", "page", cache_result(public=True)(page.view))
    with caplog.at_level(logging.WARNING):
        responses = [app.test_client().get("/") for _ in range(3)]
    assert page.calls == 3
    assert not any(was_hit(response) for response in responses)
    assert len({response.data for response in responses}) == 1
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (said is not None)
    if said:
        assert said in messages[0]
        assert "'page'" in messages[0]


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 404, 410])
def test_the_statuses_that_are_stored(app: Flask, status: int) -> None:
    page = Page(lambda: ("", status))
    app.add_url_rule("/", "page", cache_result()(page.view))
    assert [app.test_client().get("/").status_code for _ in range(2)] == [status] * 2
    assert page.calls == 1


def test_a_request_with_authorization_gets_an_answer_of_its_own(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result()(lambda: request.headers.get("Authorization", "")))
    app.add_url_rule("/all", "all", cache_result(public=True)(Page().view))
    client = app.test_client()
    client.get("/")
    for who in ("Bearer alice", "Bearer bob"):
        assert client.get("/", headers={"Authorization": who}).text == who
    assert client.get("/").text == ""
    client.get("/all")
    assert was_hit(client.get("/all", headers={"Authorization": "Bearer alice"}))


def test_a_view_that_raises_gives_its_lease_back(app: Flask, redis_client: redis.Redis) -> None:
    def fails() -> None:
        raise NotFound

    page = Page(fails)
    app.add_url_rule("/", "page", cache_result()(page.view))
    for _ in range(2):
        assert app.test_client().get("/").status_code == 404
        assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))
    assert page.calls == 2


def test_a_view_that_returns_nothing_is_the_error_it_always_is(
    app: Flask, redis_client: redis.Redis
) -> None:
    app.testing = True
    app.add_url_rule("/", "page", cache_result()(Page(lambda: None).view))
    with pytest.raises(TypeError, match="did not return a valid response"):
        app.test_client().get("/")
    assert not list(redis_client.scan_iter("frk:*:cache:l:*"))


@pytest.mark.parametrize("header", [("If-None-Match", "*"), ("If-Match", '"x"')])
def test_conditions_hold_for_success_only(app: Flask, header: tuple[str, str]) -> None:
    app.add_url_rule("/", "page", cache_result()(lambda: ("nothing here", 404)))
    client = app.test_client()
    for _ in range(2):
        response = client.get("/", headers=[header])
        assert (response.status_code, response.text) == (404, "nothing here")
    assert was_hit(client.get("/"))


def test_an_environ_that_is_used_again_is_another_request(app: Flask) -> None:
    @app.get("/part")
    @cache_result()
    def part() -> str:
        return request.args.get("q", "")

    def ask(environ: dict[str, Any]) -> str:
        answer: Any = app.wsgi_app(environ, lambda *_: lambda _: None)
        return b"".join(answer).decode()

    for query in "ab":
        environ = EnvironBuilder("/part", query_string={"q": query}).get_environ()
        assert [ask(environ), ask(environ), ask({**environ})] == [query] * 3
