"""Invalidating by URL, and by endpoint and arguments: all that may be meant, at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from flask import Flask, url_for
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from flask_redis_kit import RedisKit, cache_result
from tests.cache.test_route import Page, was_hit
from tests.harness.proxy import Proxy


@pytest.fixture
def shop(app: Flask) -> Flask:
    """``/products/<int:product_id>``, and one with an argument more."""

    @app.get("/products/<int:product_id>")
    @cache_result(vary=["X-Tenant"])
    def product(product_id: int) -> str:
        return str(product_id)

    @app.get("/products/<int:product_id>/reviews")
    @cache_result(query=["page"])
    def reviews(product_id: int, page: int = 1) -> str:
        return f"{product_id}/{page}"

    return app


def hits(app: Flask, *urls: str) -> list[bool]:
    return [was_hit(app.test_client().get(url)) for url in urls]


def test_every_variant_of_a_path_is_invalidated(kit: RedisKit, shop: Flask) -> None:
    client = shop.test_client()

    def ask() -> list[bool]:
        answers = [
            client.get("/products/7"),
            client.get("/products/7?sort=up&page=2"),
            client.get("/products/7", headers={"X-Tenant": "b"}),
            client.get("http://other.test/products/7"),
            client.get("https://localhost/products/7"),
            client.head("/products/7"),
        ]
        return [was_hit(each) for each in answers]

    others = ("/products/8", "/products/7/reviews")
    ask()
    hits(shop, *others)
    kit.cache.invalidate_url("/products/7")
    assert ask() == [False] * 5 + [True], "HEAD is answered from GET's, which is there again"
    assert hits(shop, *others) == [True, True]
    for url in ("https://shop.example/products/7", "//any.where/products/7#top"):
        assert all(ask())
        kit.cache.invalidate_url(url)
        assert not any(ask()[:5])


def test_with_a_query_only_that_query_is_invalidated(kit: RedisKit, shop: Flask) -> None:
    urls = ("/products/7", "/products/7?a=1&b=2", "/products/7?a=2")
    hits(shop, *urls)
    kit.cache.invalidate_url("/products/7?b=2&utm_source=x&a=1")
    assert hits(shop, *urls) == [True, False, True]


def test_a_query_is_read_as_the_route_reads_it(kit: RedisKit, shop: Flask) -> None:
    path = "/products/7/reviews"
    urls = (path, f"{path}?page=2", f"{path}?page=3")
    for url, expected in (
        (f"{path}?page=2", [True, False, True]),
        (f"{path}?sort=up&page=3", [True, True, False]),
        (f"{path}?sort=up", [False, True, True]),
        (f"{path}?utm_source=x", [False, False, False]),
        (path, [False, False, False]),
    ):
        hits(shop, *urls)
        kit.cache.invalidate_url(url)
        assert hits(shop, *urls) == expected, url


@pytest.mark.parametrize("url", ["/caf%C3%A9/a%20b", "/café/a b", "/caf%c3%a9/a b"])
def test_a_path_may_be_spelled_in_any_way(kit: RedisKit, app: Flask, url: str) -> None:
    app.add_url_rule("/<one>/<two>", "page", cache_result()(Page().view))
    hits(app, "/café/a b")
    kit.cache.invalidate_url(url)
    assert hits(app, "/café/a b") == [False]


def test_below_a_mount_point_either_path_will_do(kit: RedisKit, shop: Flask) -> None:
    mounted = Client(DispatcherMiddleware(shop, {"/shop": shop}))

    def ask() -> list[bool]:
        urls = ("/shop/products/7", "/shop/products/7?a=1", "/products/7")
        return ["; hit" in mounted.get(url).headers["Cache-Status"] for url in urls]

    for url, expected in (
        ("/shop/products/7", [False, False, True]),
        ("https://shop.example/shop/products/7", [False, False, True]),
        ("/products/7", [False, False, False]),
        ("/shop/products/7?a=1", [True, False, True]),
        ("/products/7?a=1", [True, False, True]),
    ):
        ask()
        assert all(ask())
        kit.cache.invalidate_url(url)
        assert ask() == expected, url


def test_what_url_for_makes_will_do(kit: RedisKit, shop: Flask) -> None:
    hits(shop, "/products/7?a=1")
    with shop.test_request_context("/elsewhere"):
        kit.cache.invalidate_url(url_for("product", product_id=7, a=1, _external=True))
    assert hits(shop, "/products/7?a=1") == [False]


@pytest.mark.parametrize("url", ["products/7", "?page=2", "mailto:a@b.c", ""])
def test_what_is_no_url_is_an_error(kit: RedisKit, shop: Flask, url: str) -> None:
    with shop.app_context(), pytest.raises(ValueError, match="is no URL of this application"):
        kit.cache.invalidate_url(url)
    with shop.app_context(), pytest.raises(TypeError, match="must be a string, not 7"):
        kit.cache.invalidate_url(7)  # type: ignore[arg-type]


def test_a_route_whose_key_leaves_parts_of_the_path_out_is_any_urls(
    kit: RedisKit, app: Flask
) -> None:
    @app.get("/<int:i>-<slug>")
    @cache_result(ignore=["slug"])
    def page(i: int, slug: str) -> str:
        return str(i)

    assert hits(app, "/1-a", "/1-b", "/2-a") == [False, True, False]
    kit.cache.invalidate_url("/1-b")
    assert hits(app, "/1-a", "/1-b")[0] is False


def test_each_is_one_round_trip(kit: RedisKit, shop: Flask, proxy: Proxy) -> None:
    kit.cache.invalidate_url("/x")
    with shop.app_context():
        invalidations: list[Callable[[], None]] = [
            lambda: kit.cache.invalidate_url("/products/7?a=1"),
            lambda: kit.cache.invalidate_endpoint("product", product_id=7),
            lambda: kit.cache.invalidate_endpoint("product"),
        ]
        for invalidate in invalidations:
            with proxy.counting() as count:
                invalidate()
            assert count.trips == 1


@pytest.mark.parametrize("how", ["url", "url with query", "endpoint", "arguments"])
def test_a_response_that_is_being_computed_is_not_stored(
    kit: RedisKit, app: Flask, how: str
) -> None:
    value = ["old"]
    began, go_on = threading.Event(), threading.Event()

    @app.get("/p/<int:i>")
    @cache_result()
    def page(i: int) -> str:
        seen = value[0]
        if seen == "old":
            began.set()
            assert go_on.wait(60)
        return seen

    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(app.test_client().get("/p/7?a=1").text))
    asking.start()
    assert began.wait(60)
    value[0] = "new"
    invalidations: dict[str, Callable[[], None]] = {
        "url": lambda: kit.cache.invalidate_url("/p/7"),
        "url with query": lambda: kit.cache.invalidate_url("/p/7?a=1"),
        "endpoint": lambda: kit.cache.invalidate_endpoint("page"),
        "arguments": lambda: kit.cache.invalidate_endpoint("page", i=7),
    }
    invalidations[how]()
    go_on.set()
    asking.join()
    assert answers == ["old"], "it began before"
    assert app.test_client().get("/p/7?a=1").text == "new"
    assert was_hit(app.test_client().get("/p/7?a=1"))


def test_softly_the_old_page_is_served_while_one_computes(kit: RedisKit, app: Flask) -> None:
    page = Page()
    app.add_url_rule("/<int:i>", "page", cache_result(grace=60)(page.view))
    invalidations: list[Callable[[], None]] = [
        lambda: kit.cache.invalidate_url("/1", soft=True),
        lambda: kit.cache.invalidate_endpoint("page", soft=True),
    ]
    for invalidate in invalidations:
        hits(app, "/1")
        invalidate()
        status = app.test_client().get("/1").headers["Cache-Status"]
        assert status == "shop; fwd=stale; stored"
        assert hits(app, "/1") == [True]
