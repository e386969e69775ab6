"""Invalidating by endpoint and arguments: all that may be meant, whatever the URL was."""

from __future__ import annotations

from functools import wraps
from typing import Any

import pytest
from flask import Blueprint, Flask, g, request
from flask.views import MethodView

from flask_redis_kit import RedisKit, cache_result
from flask_redis_kit.core.errors import ConfigError
from tests.cache.test_route import was_hit
from tests.cache.test_url_invalidation import hits, shop

__all__ = ["shop"]


def test_an_endpoint_with_arguments(kit: RedisKit, shop: Flask) -> None:
    urls = ("/products/7", "/products/7?a=1", "/products/8", "/products/7/reviews")
    for product_id in (7, "7"):
        hits(shop, *urls)
        kit.cache.invalidate_endpoint("product", product_id=product_id)
        assert hits(shop, *urls) == [False, False, True, True]


def test_another_spelling_of_an_argument_in_the_url(kit: RedisKit, shop: Flask) -> None:
    hits(shop, "/products/007")
    kit.cache.invalidate_endpoint("product", product_id=7)
    assert hits(shop, "/products/007") == [False]


def test_a_whole_endpoint(kit: RedisKit, shop: Flask) -> None:
    urls = ("/products/7", "/products/8?a=1", "/products/7/reviews")
    hits(shop, *urls)
    kit.cache.invalidate_endpoint("product")
    assert hits(shop, *urls) == [False, False, True]


def test_arguments_that_leave_a_rule_open_mean_the_whole_endpoint(
    kit: RedisKit, app: Flask
) -> None:
    @app.get("/p/<int:i>")
    @app.get("/p/<int:i>/<slug>")
    @cache_result()
    def page(i: int, slug: str = "") -> str:
        return f"{i} {slug}"

    urls = ("/p/1", "/p/1/a", "/p/2")
    hits(app, *urls)
    kit.cache.invalidate_endpoint("page", i=1)
    assert hits(app, *urls)[:2] == [False, False]


def test_defaults_of_a_rule_are_arguments(kit: RedisKit, app: Flask) -> None:
    @app.get("/list/", defaults={"page": 1})
    @app.get("/list/<int:page>")
    @cache_result()
    def listing(page: int) -> str:
        return str(page)

    hits(app, "/list/", "/list/2")
    kit.cache.invalidate_endpoint("listing", page=1)
    assert hits(app, "/list/", "/list/2") == [False, True]


def test_arguments_that_a_preprocessor_takes_away_mean_the_whole_endpoint(
    kit: RedisKit, app: Flask
) -> None:
    blueprint = Blueprint("site", __name__, url_prefix="/<lang>")

    @blueprint.url_value_preprocessor
    def pull_language(_: str | None, values: dict[str, Any] | None) -> None:
        assert values is not None
        g.lang = values.pop("lang")

    @blueprint.get("/<int:i>")
    @cache_result()
    def page(i: int) -> str:
        kit.cache.invalidate_endpoint(".other")
        return f"{g.lang} {i}"

    blueprint.add_url_rule("/other", "other", cache_result()(lambda: "x"))
    app.register_blueprint(blueprint)
    urls = ("/de/1", "/en/1")
    for arguments in ({"lang": "de", "i": 1}, {"i": 1}, {}):
        hits(app, *urls)
        assert all(hits(app, *urls))
        kit.cache.invalidate_endpoint("site.page", **arguments)
        assert hits(app, *urls) == [False, False]


def test_what_an_outer_decorator_adds_does_not_hide_a_response(kit: RedisKit, app: Flask) -> None:
    def with_user(view: Any) -> Any:
        @wraps(view)
        def wrapper(**kwargs: Any) -> Any:
            return view(user=request.headers.get("X-User", ""), **kwargs)

        return wrapper

    @app.get("/<int:i>")
    @with_user
    @cache_result()
    def page(i: int, user: str) -> str:
        return f"{i} {user}"

    hits(app, "/1", "/2")
    kit.cache.invalidate_endpoint("page", i=1)
    assert hits(app, "/1", "/2") == [False, True]


def test_views_of_classes(kit: RedisKit, app: Flask) -> None:
    class Product(MethodView):
        @cache_result()
        def get(self, i: int) -> str:
            return str(i)

        @cache_result(methods=["POST"], body_key=True)
        def post(self, i: int) -> str:
            return f"posted {i}"

    app.add_url_rule("/<int:i>", view_func=Product.as_view("product"))
    client = app.test_client()

    def ask() -> list[bool]:
        answers = [client.get("/1"), client.post("/1", json=1), client.get("/2")]
        return [was_hit(each) for each in answers]

    ask()
    assert all(ask())
    kit.cache.invalidate_endpoint("product", i=1)
    assert ask() == [False, False, True]
    kit.cache.invalidate_endpoint("product")
    assert ask() == [False, False, False]
    kit.cache.invalidate_url("/1")
    assert ask() == [False, False, True]


@pytest.mark.parametrize(
    ("endpoint", "arguments", "said"),
    [
        ("produkt", {}, "has no endpoint 'produkt'. Did you mean 'product'?"),
        ("plain", {}, "has no @cache_result that its requests would find"),
        ("product", {"id": 7}, "has an argument 'id': it has product_id."),
    ],
)
def test_what_is_no_cached_endpoint_is_an_error(
    kit: RedisKit, shop: Flask, endpoint: str, arguments: dict[str, Any], said: str
) -> None:
    shop.add_url_rule("/plain", "plain", lambda: "x")
    with shop.app_context(), pytest.raises(ConfigError) as caught:
        kit.cache.invalidate_endpoint(endpoint, **arguments)
    assert said in str(caught.value)
