"""Routes of every kind: blueprints, mounted and nested applications, what a view may return."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, jsonify, request, stream_with_context
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from flask_redis_kit import RedisKit, cache_result
from tests.cache.conftest import MakeKit
from tests.cache.test_route import Page, was_hit
from tests.harness.proxy import Proxy


@pytest.mark.parametrize(
    ("answer", "body", "kind"),
    [
        (lambda: "text", b"text", "text/html; charset=utf-8"),
        (lambda: b"bytes", b"bytes", "text/html; charset=utf-8"),
        (lambda: {"a": 1}, b'{"a":1}\n', "application/json"),
        (lambda: [1, 2], b"[1,2]\n", "application/json"),
        (lambda: ("x", {"Content-Type": "text/x"}), b"x", "text/x"),
        (lambda: jsonify(a=1), b'{"a":1}\n', "application/json"),
        (lambda: Response(["a", "b"], mimetype="text/plain"), b"ab", "text/plain; charset=utf-8"),
    ],
)
def test_what_a_view_may_return(
    app: Flask, answer: Callable[[], Any], body: bytes, kind: str
) -> None:
    app.add_url_rule("/", "page", cache_result()(Page(answer).view))
    for hit in (False, True):
        response = app.test_client().get("/")
        assert (response.data, response.content_type) == (body, kind)
        assert was_hit(response) is hit


def test_a_stream_reaches_its_reader_as_it_comes(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[int] = []

    @app.get("/")
    @cache_result()
    def page() -> Any:
        def parts() -> Any:
            for n in range(3):
                made.append(n)
                yield str(n)

        return stream_with_context(parts())

    with caplog.at_level(logging.WARNING):
        response = app.test_client().get("/", buffered=False)
    assert len(made) < 3
    assert response.data == b"012"
    assert response.headers["Cache-Status"] == "shop; fwd=miss; detail=stream"
    assert "it streams its response" in caplog.text


def test_blueprints_that_share_a_view(app: Flask) -> None:
    @cache_result()
    def page() -> str:
        return str(request.endpoint)

    for name in ("a", "b"):
        blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")
        blueprint.add_url_rule("/", "page", page)
        outer = Blueprint(f"in_{name}", __name__, url_prefix="/in")
        outer.register_blueprint(blueprint)
        app.register_blueprint(outer)
    client = app.test_client()
    for _ in range(2):
        assert [client.get(f"/in/{name}/").text for name in "ab"] == [
            "in_a.a.page",
            "in_b.b.page",
        ]


def test_two_applications_of_one_process_at_two_places(make_kit: MakeKit, proxy: Proxy) -> None:
    apps = []
    for name in ("one", "two"):
        app = make_kit(proxy.url, name=name).state().app
        app.add_url_rule("/page", "page", cache_result()(lambda name=name: name))
        apps.append(app)
    client = Client(DispatcherMiddleware(apps[0], {"/two": apps[1]}))
    for hit in (False, True):
        for path, text in (("/page", "one"), ("/two/page", "two")):
            response = client.get(path)
            assert (response.text, was_hit(response)) == (text, hit)


def test_a_view_that_asks_another_application(make_kit: MakeKit, proxy: Proxy) -> None:
    inner = make_kit(proxy.url, name="inner").state().app
    inner.add_url_rule("/", "page", cache_result()(lambda: "inner"))
    outer = make_kit(proxy.url, name="outer").state().app

    @outer.get("/")
    @cache_result()
    def page() -> str:
        return f"outer of {inner.test_client().get('/').text}"

    for hit in (False, True):
        response = outer.test_client().get("/")
        assert (response.text, was_hit(response)) == ("outer of inner", hit)
    assert was_hit(inner.test_client().get("/"))


def test_a_page_hangs_on_what_the_page_inside_of_it_hangs_on(kit: RedisKit, app: Flask) -> None:
    calls: list[int] = []

    class Both(MethodView):
        decorators = [cache_result("outer")]  # noqa: RUF012

        @cache_result("inner", tags=["inside"])
        def get(self) -> str:
            calls.append(1)
            return "x"

    app.add_url_rule("/", view_func=Both.as_view("both"))
    client = app.test_client()
    client.get("/")
    kit.cache.invalidate_prefix("outer")
    client.get("/")
    assert was_hit(client.get("/"))
    assert calls == [1], "made of the stored inner page"
    kit.cache.invalidate_tags("inside")
    assert not was_hit(client.get("/"))


def test_async_methods_with_all_that_is_declared(app: Flask) -> None:
    class Product(MethodView):
        @cache_result(vary=["X-A"], ttl=lambda _: 30, tags=["p:{i}"], grace=5)
        async def get(self, i: int) -> str:
            return f"{i} {request.headers.get('X-A')}"

    app.add_url_rule("/<int:i>", view_func=Product.as_view("product"))
    client = app.test_client()
    for hit in (False, True):
        for a in ("1", "2"):
            response = client.get("/7", headers={"X-A": a})
            assert (response.text, was_hit(response)) == (f"7 {a}", hit)
    assert client.get("/7", headers={"X-A": "1"}).headers["Cache-Control"] == (
        "private, max-age=30, stale-while-revalidate=5"
    )


def test_a_key_of_ones_own_replaces_path_and_arguments(app: Flask) -> None:
    calls: list[str] = []

    @app.get("/by-name/<name>")
    @app.get("/by-nick/<name>")
    @cache_result(key=lambda name: name.lower())
    def page(name: str) -> str:
        calls.append(name)
        return name.lower()

    client = app.test_client()
    answers = [client.get(f"/{path}").text for path in ("by-name/Ann", "by-name/ann", "by-name/Bo")]
    assert answers == ["ann", "ann", "bo"]
    assert client.get("/by-name/Ann?x=1").text == "ann"
    assert client.get("/by-nick/Ann").text == "ann"
    assert calls == ["Ann", "Bo", "Ann", "Ann"], "a query, and another rule, are other pages"


def test_what_a_preprocessor_took_is_in_the_key_whatever_is_ignored(app: Flask) -> None:
    taken: list[str] = []

    @app.url_value_preprocessor
    def pull(_: str | None, values: dict[str, Any] | None) -> None:
        assert values is not None
        taken[:] = [values.pop("lang")]

    @app.get("/<lang>/<slug>")
    @cache_result(ignore=["slug"])
    def page(slug: str) -> str:
        return f"{taken[0]} {slug}"

    client = app.test_client()
    for _ in range(2):
        assert client.get("/de/a").text == "de a"
        assert client.get("/en/a").text == "en a"


def test_a_path_that_looks_like_another_ones_parts(app: Flask) -> None:
    app.add_url_rule("/<path:p>", "page", cache_result()(lambda p: f"{p}?{request.args}"))
    client = app.test_client()
    urls = ("/a/b", "/a%2Fb/", "/a?b=1", "/a%3Fb=1", "/a//b", "/A/b")
    first = [client.get(url).text for url in urls]
    assert len(set(first)) == len(urls)
    assert [client.get(url).text for url in urls] == first
