"""Old pages on routes: served while one caller renews them, and in place of errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask, abort, got_request_exception, request
from werkzeug.test import TestResponse

from flask_redis_kit import RedisKit, cache_result
from tests.cache.test_http_answer import aged
from tests.cache.test_route import Page, was_hit

GRACE = 60_000


def make_old(redis_client: redis.Redis, by_ms: int = 1010) -> None:
    """Let the only page be past its time by so much, within its grace."""
    aged(redis_client, GRACE - by_ms)


def status(response: TestResponse) -> str:
    return response.headers["Cache-Status"].partition("; ")[2]


def test_one_renews_an_old_page_and_the_others_get_it(
    app: Flask, redis_client: redis.Redis
) -> None:
    began, go_on = threading.Event(), threading.Event()
    texts = iter(["old", "new"])

    def view() -> str:
        text = next(texts)
        if text == "new":
            began.set()
            assert go_on.wait(60)
        return text

    app.add_url_rule("/", "page", cache_result(ttl=100, grace=GRACE / 1000)(view))
    app.test_client().get("/")
    make_old(redis_client)
    renewed: list[TestResponse] = []
    renewing = threading.Thread(target=lambda: renewed.append(app.test_client().get("/")))
    renewing.start()
    assert began.wait(60)
    for _ in range(3):
        make_old(redis_client)
        response = app.test_client().get("/")
        assert response.text == "old"
        assert status(response) == "hit; ttl=-2"
        assert response.headers["Age"] == "101"
        control = "private, max-age=100, stale-while-revalidate=58"
        assert response.headers["Cache-Control"] == control
    make_old(redis_client)
    head = app.test_client().head("/")
    assert status(head) == "hit; ttl=-2"
    go_on.set()
    renewing.join()
    assert renewed[0].text == "new"
    assert status(renewed[0]) == "fwd=stale; stored"
    response = app.test_client().get("/")
    assert (response.text, was_hit(response)) == ("new", True)


def _raises() -> str:
    raise RuntimeError("the database is away")


def _unavailable() -> str:
    abort(503)


@pytest.mark.parametrize(
    ("fail", "code", "logged"),
    [
        (_raises, 500, True),
        (_unavailable, 503, False),
        (lambda: ("sorry", 502), 502, False),
        (lambda: None, 500, True),
    ],
    ids=["raises", "aborts", "answers", "answers nothing"],
)
def test_an_old_page_takes_the_place_of_an_error(
    app: Flask,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[], Any],
    code: int,
    logged: bool,
) -> None:
    page = Page(lambda: "fine")
    app.add_url_rule("/", "page", cache_result(ttl=100, grace=GRACE / 1000)(page.view))
    errors: list[Any] = []
    with got_request_exception.connected_to(lambda _, exception: errors.append(exception), app):
        app.test_client().get("/")
        make_old(redis_client)
        page.answer = fail
        with caplog.at_level(logging.ERROR):
            response = app.test_client().get("/")
    assert (response.status_code, response.text) == (200, "fine")
    assert status(response) == f"fwd=stale; fwd-status={code}; ttl=-2; detail=stale-if-error"
    assert response.headers["Age"] == "101"
    assert len(errors) == logged, "what watches the application must hear of it"
    assert ("Exception on / [GET]" in caplog.text) is logged
    page.answer = lambda: "fine again"
    assert app.test_client().get("/").text == "fine", "nobody tries again at once"


@pytest.mark.parametrize("fail", [_raises, _unavailable])
def test_after_the_grace_an_error_is_an_error(app: Flask, fail: Callable[[], Any]) -> None:
    page = Page(fail)
    app.add_url_rule("/", "page", cache_result(ttl=100, grace=GRACE / 1000)(page.view))
    assert app.test_client().get("/").status_code >= 500


def test_an_answer_that_is_no_failure_replaces_the_old_page(
    app: Flask, redis_client: redis.Redis
) -> None:
    page = Page(lambda: "fine")
    app.add_url_rule("/", "page", cache_result(ttl=100, grace=GRACE / 1000)(page.view))
    app.test_client().get("/")
    make_old(redis_client)

    def gone() -> str:
        abort(404)

    page.answer = gone
    assert app.test_client().get("/").status_code == 404


def test_an_old_page_that_was_invalidated_is_no_help(
    kit: RedisKit, app: Flask, redis_client: redis.Redis
) -> None:
    page = Page(lambda: "secret")
    app.add_url_rule("/", "page", cache_result(ttl=100, grace=GRACE / 1000)(page.view))
    app.test_client().get("/")
    make_old(redis_client)
    kit.cache.invalidate_url("/")
    page.answer = _raises
    assert app.test_client().get("/").status_code == 500


def test_what_a_view_did_not_finish_is_computed_by_the_next(
    app: Flask, redis_client: redis.Redis
) -> None:
    """A server that stops a request raises what is no Exception."""

    def stopped() -> str:
        raise SystemExit

    page = Page(lambda: "fine")
    app.add_url_rule("/", "page", cache_result(ttl=100, grace=GRACE / 1000)(page.view))
    app.test_client().get("/")
    make_old(redis_client)
    page.answer = stopped
    with pytest.raises(SystemExit):
        app.test_client().get("/")


def test_an_old_page_is_for_its_own_variant(app: Flask, redis_client: redis.Redis) -> None:
    def view() -> str:
        if request.headers.get("X-Fail"):
            raise RuntimeError
        return request.headers["X-User"]

    decorate = cache_result(ttl=100, grace=GRACE / 1000, vary=[lambda: request.headers["X-User"]])
    app.add_url_rule("/", "page", decorate(view))
    client = app.test_client()
    client.get("/", headers={"X-User": "alice"})
    make_old(redis_client)
    failing = {"X-Fail": "1"}
    assert client.get("/", headers={"X-User": "alice", **failing}).text == "alice"
    assert client.get("/", headers={"X-User": "bob", **failing}).status_code == 500


def test_an_old_page_is_not_for_one_who_says_who_he_is(
    app: Flask, redis_client: redis.Redis
) -> None:
    page = Page(lambda: "everyone's")
    app.add_url_rule("/", "page", cache_result(ttl=100, grace=GRACE / 1000)(page.view))
    app.test_client().get("/")
    make_old(redis_client)
    page.answer = _raises
    response = app.test_client().get("/", headers={"Authorization": "alice"})
    assert response.status_code == 500
