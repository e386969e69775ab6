"""Views of every shape as routes: their arguments, classes, decorators around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Flask, g, request
from flask.views import MethodView

from flask_redis_kit import RedisKit, cache_result
from tests.cache.test_route import was_hit


def test_method_views(kit: RedisKit, app: Flask) -> None:
    calls: list[str] = []

    class Product(MethodView):
        @cache_result(tags=["product:{product_id}"])
        def get(self, product_id: int) -> str:
            calls.append(f"get {product_id}")
            return str(product_id)

        def post(self, product_id: int) -> str:
            calls.append("post")
            return ""

    app.add_url_rule("/<int:product_id>", view_func=Product.as_view("product"))
    client = app.test_client()
    assert [client.get("/1").text, client.get("/1").text, client.get("/2").text] == ["1", "1", "2"]
    client.post("/1")
    client.post("/1")
    kit.cache.invalidate_tags("product:1")
    assert was_hit(client.get("/2"))
    assert was_hit(client.head("/2"))
    assert not was_hit(client.get("/1"))
    assert calls == ["get 1", "get 2", "post", "post", "get 1"]


def test_a_class_decorated_as_a_whole_and_its_method_too(app: Flask) -> None:
    calls: list[int] = []

    class Both(MethodView):
        decorators = [cache_result()]  # noqa: RUF012

        @cache_result()
        def get(self) -> str:
            calls.append(1)
            return "x"

    app.add_url_rule("/", view_func=Both.as_view("both"))
    client = app.test_client()
    assert not was_hit(client.get("/"))
    assert was_hit(client.get("/"))
    assert calls == [1]


def test_async_views(app: Flask) -> None:
    calls: list[int] = []

    @app.get("/<int:n>")
    @cache_result()
    async def page(n: int) -> str:
        calls.append(n)
        return str(n)

    client = app.test_client()
    assert [client.get("/1").text, client.get("/1").text, client.get("/2").text] == ["1", "1", "2"]
    assert calls == [1, 2]


@pytest.mark.parametrize("how", ["by name", "by position", "by name, behind a planned look-up"])
def test_what_an_outer_decorator_passes_on_is_part_of_the_key(
    kit: RedisKit, app: Flask, how: str
) -> None:
    def with_user(view: Callable[..., str]) -> Callable[..., str]:
        @wraps(view)
        def wrapper(**kwargs: Any) -> str:
            if "look-up" in how:  # anything sent before the view takes the look-up along
                kit.cache.get("unrelated")
            user = request.headers["X-User"]
            return view(user, **kwargs) if how == "by position" else view(user=user, **kwargs)

        return wrapper

    @app.get("/<int:n>")
    @with_user
    @cache_result(tags=[] if "look-up" in how else ["user:{user}"])
    def page(user: str, n: int = 0) -> str:
        return f"{n} of {user}"

    client = app.test_client()
    for user, hit in (("alice", False), ("bob", False), ("alice", True)):
        response = client.get("/1", headers={"X-User": user})
        assert response.text == f"1 of {user}"
        assert was_hit(response) is hit
    if "look-up" in how:
        return  # whose tags can hold nothing that the URL doesn't
    kit.cache.invalidate_tags("user:alice")
    assert not was_hit(client.get("/1", headers={"X-User": "alice"}))
    assert was_hit(client.get("/1", headers={"X-User": "bob"}))


def test_a_view_called_from_elsewhere_is_a_plain_function(app: Flask) -> None:
    calls: list[int] = []

    @app.get("/double/<int:n>")
    @cache_result()
    def double(n: int) -> str:
        calls.append(n)
        return str(2 * n)

    @app.get("/sum")
    def total() -> str:
        values = [double(n) for n in (1, 2, 1)]
        assert values == ["2", "4", "2"], "not responses"
        return ",".join(values)

    client = app.test_client()
    assert client.get("/sum").text == client.get("/sum").text == "2,4,2"
    assert calls == [1, 2]
    assert client.get("/double/1").text == "2"
    assert calls == [1, 2, 1], "the route and the function have values of their own"


def test_invalidate_forgets_the_routes_with_these_arguments(app: Flask) -> None:
    calls: list[int] = []

    @app.get("/<int:n>")
    @cache_result()
    def page(n: int, lang: str = "en") -> str:
        calls.append(n)
        return str(n)

    client = app.test_client()
    for url in ("/1", "/1?x=1", "/2"):
        client.get(url)
    with app.app_context():
        page.invalidate(1)
    assert [was_hit(client.get(url)) for url in ("/1", "/1?x=1", "/2")] == [False, False, True]


def test_a_missing_placeholder_of_a_route_is_an_error_that_names_it(app: Flask) -> None:
    app.testing = True

    @cache_result(tags=["x:{lang}"])
    def page(**options: object) -> str:
        return "x"

    app.add_url_rule("/", "page", page)
    with pytest.raises(TypeError, match="needs an argument named 'lang'"):
        app.test_client().get("/")


def test_what_a_preprocessor_takes_out_of_the_url_is_part_of_the_key(app: Flask) -> None:
    @app.url_value_preprocessor
    def pull_language(_: str | None, values: dict[str, Any] | None) -> None:
        if values:
            g.language = values.pop("language", None)

    @app.get("/<language>/about")
    @cache_result()
    def about() -> str:
        return str(g.language)

    client = app.test_client()
    for _ in range(2):
        assert (client.get("/en/about").text, client.get("/de/about").text) == ("en", "de")
    assert was_hit(client.get("/de/about"))


def test_two_rules_of_a_view_are_two_pages(app: Flask) -> None:
    @app.get("/one")
    @app.get("/two")
    @cache_result()
    def either() -> str:
        return request.path

    client = app.test_client()
    assert (client.get("/one").text, client.get("/two").text) == ("/one", "/two")
