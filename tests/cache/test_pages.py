"""Which page a request asks for is remembered as it was spelled: never another page for it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request

from flask_redis_kit import cache_result
from flask_redis_kit.cache.pages import PAGES
from tests.cache.test_route import was_hit

VALUES = {
    "int": 1,
    "bool": True,
    "float": 1.0,
    "text": "1",
    "nothing": None,
    "zero": 0.0,
    "minus zero": -0.0,
    "empty": "",
}


def known(view: Any) -> int:
    return len(getattr(view, PAGES)._known)


def asked_twice(app: Flask, requests: list[dict[str, Any]]) -> None:
    """Each has a page of its own, also when all of them are remembered."""
    client = app.test_client()
    pages = []
    for each in requests:
        response = client.open(**each)
        assert not was_hit(response), each
        pages.append(response.text)
    assert len(set(pages)) == len(pages)
    for each, page in zip(requests * 2, pages * 2, strict=True):
        response = client.open(**each)
        assert was_hit(response), each
        assert response.text == page


def test_arguments_that_only_their_types_tell_apart_are_different_pages(app: Flask) -> None:
    """A ``url_value_preprocessor`` gives them: the URL is the same."""

    @app.url_value_preprocessor
    def give(_: str | None, values: dict[str, Any] | None) -> None:
        assert values is not None
        values["n"] = VALUES[request.headers["X-N"]]

    @app.get("/")
    @cache_result()
    def page(n: object) -> str:
        return repr(n)

    asked_twice(app, [{"path": "/", "headers": {"X-N": name}} for name in VALUES])
    assert known(page) == len(VALUES) - 3, "floats are looked at each time"


def test_all_that_a_page_is_told_apart_by_counts_when_it_is_remembered(app: Flask) -> None:
    @app.get("/<path:rest>")
    @app.get("/<name>")
    @app.get("/", defaults={"name": "none"})
    @cache_result(vary=["X-Tenant", lambda: VALUES[request.headers.get("X-N", "int")]])
    def page(**given: object) -> str:
        return repr((request.url, sorted(request.headers.items()), given))

    base: dict[str, Any] = {"path": "/a", "base_url": "http://localhost"}
    asked_twice(
        app,
        [
            base,
            base | {"path": "/b"},
            base | {"path": "/a/b"},
            base | {"path": "/"},
            base | {"query_string": "a=1"},
            base | {"query_string": "a=1&a=2"},
            base | {"base_url": "https://localhost"},
            base | {"base_url": "http://localhost:8080"},
            base | {"base_url": "http://localhost/mount"},
            base | {"headers": {"X-Tenant": "a"}},
            base | {"headers": {"X-Tenant": ""}},
            base | {"headers": {"X-N": "bool"}},
            base | {"headers": {"X-N": "text"}},
            base | {"headers": {"X-N": "zero"}},
        ],
    )
    assert known(page) == 13


def test_what_may_be_another_page_another_time_is_not_remembered(app: Flask) -> None:
    seen: list[int] = []

    @app.get("/keyed")
    @cache_result("keyed", key=lambda: len(seen))
    def keyed() -> str:
        return str(len(seen))

    @app.get("/body")
    @cache_result("body", body_key=True)
    def with_body() -> str:
        return request.get_data(as_text=True)

    client = app.test_client()
    for _ in range(3):
        assert client.get("/keyed").text == str(len(seen))
        seen.append(1)
        body = str(seen)
        assert client.get("/body", data={"a": body}).text.startswith("a=%5B1")
        assert client.get("/body").text == ""
    assert (known_or_none(keyed), known(with_body)) == (None, 1)


def known_or_none(view: Any) -> object:
    return getattr(view, PAGES)._known


@pytest.mark.parametrize("where", ["host", "path", "query", "header", "function"])
def test_long_requests_are_not_remembered(where: str, app: Flask) -> None:
    @app.get("/<path:rest>")
    @cache_result(vary=["X-Tenant", lambda: request.headers.get("X-User")])
    def page(rest: str) -> str:
        return rest[:10]

    client = app.test_client()
    for _ in range(2):
        path = "/" + "x" * (2000 if where == "path" else 2)
        query = "a=" + "x" * (2000 if where == "query" else 2)
        headers = {
            "Host": "shop." * (500 if where == "host" else 1) + "example",
            "X-Tenant": "x" * (2000 if where == "header" else 2),
            "X-User": "x" * (2000 if where == "function" else 2),
        }
        response = client.get(path, query_string=query, headers=headers)
    assert was_hit(response)
    assert known(page) == 0
    client.get("/short")
    assert known(page) == 1


def test_a_bounded_number_is_remembered(app: Flask) -> None:
    @app.get("/")
    @cache_result(ttl=60)
    def page() -> str:
        return request.args["n"]

    client = app.test_client()
    for n in range(600):
        client.get(f"/?n={n}")
    assert 0 < known(page) <= 512
    assert client.get("/?n=0").text == "0"
    assert client.get("/?n=599").text == "599"
