"""What a response from the cache says: Age, ETag and 304, Cache-Control, Cache-Status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from flask import Flask, make_response, session

from flask_redis_kit import cache_result
from tests.cache.conftest import MakeKit
from tests.cache.test_route import Page, was_hit


def aged(redis_client: redis.Redis, left_ms: int) -> None:
    """Let the only value have so much time left, grace included."""
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    redis_client.pexpire(key, left_ms)


def test_a_hit_says_its_age_and_how_long_others_may_keep_it(
    app: Flask, redis_client: redis.Redis
) -> None:
    app.add_url_rule("/", "page", cache_result(ttl=100, grace=30)(Page().view))
    client = app.test_client()
    assert "Cache-Control" not in client.get("/").headers, "the session may yet be read"
    aged(redis_client, 100_990)
    response = client.get("/")
    assert response.headers["Age"] == "29"
    control = "private, max-age=100, stale-while-revalidate=30"
    assert response.headers["Cache-Control"] == control, "whoever gets it takes Age off that"
    assert response.headers["Cache-Status"] == "shop; hit; ttl=70"


def test_without_grace_nothing_is_said_of_it(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result(ttl=100)(Page().view))
    app.test_client().get("/")
    assert app.test_client().get("/").headers["Cache-Control"] == "private, max-age=100"


def test_a_public_page_is_private_only_if_somebodys_cookie_may_come_with_it(app: Flask) -> None:
    app.secret_key = "x"
    app.add_url_rule("/in", "in", lambda: session.update(a=1) or "")
    app.add_url_rule("/", "page", cache_result(ttl=100, public=True)(Page().view))
    client = app.test_client()
    client.get("/")
    assert client.get("/").headers["Cache-Control"] == "max-age=100"
    client.get("/in")
    assert client.get("/").headers["Cache-Control"] == "private, max-age=100"


@pytest.mark.parametrize(
    "own", [{"Cache-Control": "public, max-age=5"}, {"Expires": "Thu, 01 Dec 2033 16:00:00 GMT"}]
)
def test_what_the_view_says_of_it_stays(app: Flask, own: dict[str, str]) -> None:
    app.add_url_rule("/", "page", cache_result()(Page(lambda: ("x", own)).view))
    app.test_client().get("/")
    response = app.test_client().get("/")
    assert was_hit(response)
    assert response.headers.get("Cache-Control") == own.get("Cache-Control")
    assert response.headers.get("Expires") == own.get("Expires")


def test_no_cache_of_the_view_is_for_browsers(app: Flask) -> None:
    """They ask each time, and are answered 304 from the cache: never stale, and cheap."""
    page = Page(lambda: ("x", {"Cache-Control": "no-cache"}))
    app.add_url_rule("/", "page", cache_result()(page.view))
    client = app.test_client()
    etag = client.get("/").headers["ETag"]
    response = client.get("/", headers={"If-None-Match": etag})
    assert response.status_code == 304
    assert response.headers["Cache-Control"] == "no-cache"
    assert page.calls == 1


@pytest.mark.parametrize("control", ["no-cache", "no-store", "max-age=0", "only-if-cached"])
def test_visitors_cannot_make_the_application_compute(app: Flask, control: str) -> None:
    page = Page()
    app.add_url_rule("/", "page", cache_result()(page.view))
    headers = {"Cache-Control": control, "Pragma": "no-cache"}
    assert not was_hit(app.test_client().get("/", headers=headers))
    assert was_hit(app.test_client().get("/", headers=headers))
    assert page.calls == 1


@pytest.mark.parametrize("on", ["a miss", "a hit"])
def test_a_known_etag_is_compared_weakly(app: Flask, on: str) -> None:
    page = Page(lambda: ("hello", {"ETag": 'W/"v1"', "Last-Modified": "x"}))
    app.add_url_rule("/", "page", cache_result()(page.view))
    client = app.test_client()
    if on == "a hit":
        client.get("/")
    response = client.get("/", headers={"If-None-Match": '"v0", "v1"'})
    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == 'W/"v1"'
    assert "Content-Type" not in response.headers
    assert was_hit(response) is (on == "a hit")
    assert client.get("/").data == b"hello", "what is stored is the whole response"
    assert client.get("/", headers={"If-None-Match": '"v2"'}).status_code == 200
    assert client.get("/", headers={"If-None-Match": "*"}).status_code == 304
    assert page.calls == 1


def test_last_modified_is_compared_if_the_view_said_it(app: Flask) -> None:
    def view() -> Any:
        response = make_response("hello")
        response.last_modified = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        return response

    app.add_url_rule("/", "page", cache_result()(view))
    client = app.test_client()
    stamp = client.get("/").headers["Last-Modified"]
    earlier = "Mon, 13 Nov 2023 00:00:00 GMT"
    for since, status in ((stamp, 304), (earlier, 200)):
        response = client.get("/", headers={"If-Modified-Since": since})
        assert (response.status_code, was_hit(response)) == (status, True)
    both = {"If-Modified-Since": stamp, "If-None-Match": '"other"'}
    assert client.get("/", headers=both).status_code == 200, "the ETag decides"


def test_a_304_says_what_the_200_would(app: Flask) -> None:
    page = Page(lambda: ("hello", {"Vary": "X-A", "Content-Location": "/here"}))
    app.add_url_rule("/", "page", cache_result(vary=["X-A"])(page.view))
    client = app.test_client()
    etag = client.get("/").headers["ETag"]
    response = client.get("/", headers={"If-None-Match": etag})
    for name in ("ETag", "Vary", "Content-Location", "Cache-Control", "Age", "Cache-Status"):
        assert len(response.headers.getlist(name)) == 1, name
    assert "Content-Length" not in response.headers


def test_the_length_is_right_for_every_kind_of_answer(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result()(Page(lambda: "größer").view))
    app.add_url_rule("/none", "none", cache_result()(Page(lambda: ("", 204)).view))
    client = app.test_client()
    for _ in range(2):
        assert client.get("/").headers.getlist("Content-Length") == ["8"]
        assert client.get("/none").headers.getlist("Content-Length") == []
    head = client.head("/")
    assert (head.headers.getlist("Content-Length"), head.data) == (["8"], b"")


def test_the_answer_to_head_is_that_to_get(app: Flask) -> None:
    page = Page(lambda: ("hello", {"X-A": "1"}))
    app.add_url_rule("/", "page", cache_result(ttl=100)(page.view))
    client = app.test_client()
    client.get("/")
    get, head = client.get("/"), client.head("/")
    ageing = {"Age", "Cache-Status"}
    said = [{k: v for k, v in each.headers.items() if k not in ageing} for each in (get, head)]
    assert said[0] == said[1]
    assert was_hit(head)
    assert client.head("/", headers={"If-None-Match": get.headers["ETag"]}).status_code == 304


def test_a_range_is_answered_with_the_whole(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result()(Page(lambda: "0123456789").view))
    client = app.test_client()
    for _ in range(2):
        response = client.get("/", headers={"Range": "bytes=2-4"})
        assert (response.status_code, response.data) == (200, b"0123456789")


def test_two_hits_share_nothing(app: Flask) -> None:
    seen: list[Any] = []

    @app.after_request
    def change(response: Any) -> Any:
        response.headers["X-Seen"] = str(len(seen))
        response.headers.add("Set-Cookie", f"n={len(seen)}")
        response.set_data(response.get_data() + b"!")
        seen.append(response)
        return response

    app.add_url_rule("/", "page", cache_result(public=True)(Page(lambda: {"a": [1]}).view))
    texts = []
    for _ in range(3):
        response = app.test_client().get("/")
        assert len(response.headers.getlist("Set-Cookie")) == 1
        texts.append(response.data)
    assert texts == [b'{"a":[1]}\n!'] * 3
    assert was_hit(response)


@pytest.mark.parametrize(("namespace", "name"), [("my.shop-1", "my.shop-1"), ("9to5", '"9to5"')])
def test_the_cache_goes_by_the_name_of_the_namespace(
    make_kit: MakeKit, redis_url: str, namespace: str, name: str, extra_keyspace: Any
) -> None:
    app = make_kit(redis_url, REDIS_NAMESPACE=namespace).state().app
    app.add_url_rule("/", "page", cache_result()(Page().view))
    assert app.test_client().get("/").headers["Cache-Status"] == f"{name}; fwd=miss; stored"


def test_what_a_cache_before_this_one_said_stays(app: Flask) -> None:
    """A view that passes on what another server answered."""
    upstream = {"Cache-Status": "far; hit", "Age": "7", "Connection": "close", "X-A": "1"}
    app.add_url_rule("/", "page", cache_result()(Page(lambda: ("x", upstream)).view))
    first, second = app.test_client().get("/"), app.test_client().get("/")
    assert first.headers.getlist("Cache-Status") == ["far; hit", "shop; fwd=miss; stored"]
    assert second.headers.getlist("Cache-Status") == ["shop; hit; ttl=299"] or was_hit(second)
    assert second.headers.getlist("Age") == ["0"]
    assert "Connection" not in second.headers
    assert second.headers["X-A"] == "1"


def test_a_client_that_has_gone_wrong_is_no_error_of_the_cache(app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result()(Page().view))
    client = app.test_client()
    for _ in range(2):
        for headers in (
            {"If-None-Match": '"'},
            {"If-Modified-Since": "yesterday"},
            {"If-None-Match": ",,,"},
        ):
            assert client.get("/", headers=headers).data == b"hello"
