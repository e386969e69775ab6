"""Other methods than GET: only with the request's body in the key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, request
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_kit import RedisKit, cache_result
from flask_redis_kit.cache.body import canonical_body
from flask_redis_kit.core.errors import ConfigError
from tests.cache.test_route import status_of, was_hit


@pytest.fixture
def search(app: Flask) -> Flask:
    """``POST /search`` answers with what it got."""

    @app.route("/search", methods=["GET", "POST", "PUT"])
    @cache_result(methods=["GET", "POST"], body_key=True)
    def search() -> dict[str, Any]:
        body = request.get_json() if request.is_json else request.form.to_dict(flat=False)
        return {"method": request.method, "got": body}

    return app


def test_one_tenants_answer_never_reaches_another(search: Flask) -> None:
    """Flask-Caching's key knows neither method nor body."""
    client = search.test_client()
    for hit in (False, True):
        for tenant in ("one", "two"):
            response = client.post("/search", json={"tenant": tenant})
            assert response.json == {"method": "POST", "got": {"tenant": tenant}}
            assert was_hit(response) is hit
        response = client.get("/search")
        assert response.json == {"method": "GET", "got": {}}
        assert was_hit(response) is hit
    assert "Cache-Control" not in client.post("/search", json={"tenant": "one"}).headers


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"json": {"a": 1, "b": [2]}}, {"data": b'{"b":[2], "a":1}', "mimetype": "json"}, True),
        ({"json": {"a": 1}}, {"json": {"a": 1.0}}, False),
        ({"json": {"a": 1}}, {"json": {"a": True}}, False),
        ({"json": [1, 2]}, {"json": [2, 1]}, False),
        ({"json": None}, {"json": "null"}, False),
        ({"data": {"a": "1", "b": "2"}}, {"data": {"b": "2", "a": "1"}}, True),
        ({"data": {"a": ["1", "2"]}}, {"data": {"a": ["2", "1"]}}, False),
        ({"data": {"utm_source": "x"}}, {"data": {}}, False),
        ({"data": {"a": "1"}}, {"query_string": "a=1"}, False),
        ({"json": {"a": 1}}, {"json": {"a": 1}, "query_string": "page=2"}, False),
    ],
)
def test_what_is_the_same_body(
    search: Flask, one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    for options in (one, other):
        if options.get("mimetype") == "json":
            options["mimetype"] = "application/json"
    client = search.test_client()
    client.post("/search", **one)
    assert was_hit(client.post("/search", **other)) is same


@pytest.mark.parametrize(
    "options",
    [
        {"data": {"a": "x" * 70_000}},
        {"data": b"{", "mimetype": "application/json"},
        {"data": b"[" * 5000 + b"]" * 5000, "mimetype": "application/json"},
        {"data": b"x", "mimetype": "text/plain"},
        {"data": {"a": "1"}, "content_type": "multipart/form-data"},
    ],
    ids=["large", "no json", "deep", "text", "upload"],
)
def test_what_can_be_no_key_goes_to_the_view(app: Flask, options: dict[str, Any]) -> None:
    calls: list[int] = []

    @app.post("/")
    @cache_result(methods=["POST"], body_key=True)
    def page() -> str:
        calls.append(1)
        return request.mimetype

    for _ in range(2):
        response = app.test_client().post("/", **options)
        assert response.headers["Cache-Status"] == "shop; fwd=bypass; detail=body"
    assert len(calls) == 2


def test_a_method_that_is_not_named_goes_to_the_view(search: Flask) -> None:
    client = search.test_client()
    for _ in range(2):
        response = client.put("/search", json=1)
        assert "Cache-Status" not in response.headers
        assert response.json == {"method": "PUT", "got": 1}


def test_two_methods_with_the_same_body_are_two_pages(app: Flask) -> None:
    view = cache_result(methods=["POST", "PUT"], body_key=True)(lambda: request.method)
    app.add_url_rule("/", "page", view, methods=["POST", "PUT"])
    client = app.test_client()
    for _ in range(2):
        assert (client.post("/", json=1).text, client.put("/", json=1).text) == ("POST", "PUT")
    assert was_hit(client.put("/", json=1))


def test_another_method_without_the_body_is_an_error() -> None:
    with pytest.raises(ConfigError, match="need body_key=True"):
        cache_result(methods=["POST"])


def test_a_condition_is_for_reading_only(search: Flask) -> None:
    client = search.test_client()
    etag = client.post("/search", json=1).headers["ETag"]
    response = client.post("/search", json=1, headers={"If-None-Match": etag})
    assert (response.status_code, was_hit(response)) == (200, True)


def test_a_body_that_is_cached_is_invalidated_by_its_url(kit: RedisKit, search: Flask) -> None:
    client = search.test_client()
    client.post("/search", json=1)
    kit.cache.invalidate_url("/search")
    assert not was_hit(client.post("/search", json=1))


def test_the_view_reads_its_body_all_the_same(app: Flask) -> None:
    @app.post("/")
    @cache_result(methods=["POST"], body_key=True)
    def page() -> dict[str, Any]:
        return {"form": request.form, "files": len(request.files), "raw": request.content_length}

    for _ in range(2):
        assert app.test_client().post("/", data={"a": "1"}).json["form"] == {"a": "1"}  # type: ignore[index]
    assert status_of(app.test_client().post("/", data={"a": "1"})) == "hit; ttl"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=2), each, max_size=3)
    ),
    max_leaves=6,
)


@given(values, values)
def test_no_two_different_values_of_json_are_one(one: Any, other: Any) -> None:
    app = Flask("bodies")

    def body(value: Any) -> Any:
        with app.test_request_context(method="POST", json=value):
            return canonical_body(request)

    def spelled(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    assert (body(one) == body(other)) == (spelled(one) == spelled(other))
