"""Requests with an ``Authorization`` header: what may be stored of them, and served to them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis
from flask import Flask, request

from flask_redis_kit import cache_result
from tests.cache.test_http_storing import stored
from tests.cache.test_route import Page, was_hit


def test_a_request_that_says_who_asks_is_warned_about_once(
    app: Flask, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_url_rule("/", "page", cache_result()(lambda: request.headers["Authorization"]))
    with caplog.at_level(logging.WARNING):
        for who in ("Bearer alice", "Bearer bob", "Bearer alice"):
            response = app.test_client().get("/", headers={"Authorization": who})
            assert response.text == who
            assert response.headers["Cache-Status"] == "shop; fwd=bypass; detail=authorization"
    assert not stored(redis_client)
    [message] = caplog.messages
    assert 'vary=["Authorization"]' in message


@pytest.mark.parametrize("control", ["public, max-age=5", "s-maxage=5"])
def test_a_response_for_everyone_may_be_stored_and_served_whoever_asks(
    app: Flask, control: str
) -> None:
    page = Page(lambda: ("x", {"Cache-Control": control}))
    app.add_url_rule("/", "page", cache_result()(page.view))
    client = app.test_client()
    alice = {"Authorization": "Bearer alice"}
    statuses = [client.get("/", headers=alice).headers["Cache-Status"] for _ in range(3)]
    assert statuses[0] == "shop; fwd=bypass; detail=authorization", "nothing is known of it yet"
    assert statuses[1] == "shop; fwd=miss; stored"
    assert statuses[2].startswith("shop; hit")
    assert was_hit(client.get("/"))
    assert page.calls == 2


def test_what_is_not_for_everyone_is_not_served_to_one_who_says_who_he_is(app: Flask) -> None:
    answers = {"public": True}

    def view(_: str) -> Any:
        control = {"Cache-Control": "public"} if answers["public"] else {}
        return request.headers.get("Authorization", "nobody"), control

    app.add_url_rule("/<path:p>", "page", cache_result()(lambda p: view(p)))
    client = app.test_client()
    alice = {"Authorization": "alice"}
    assert client.get("/learn", headers=alice).text == "alice"
    answers["public"] = False
    assert client.get("/a").text == "nobody"
    assert was_hit(client.get("/a"))
    response = client.get("/a", headers=alice)
    assert response.text == "alice", "what was stored for nobody isn't said to be for her"
    assert response.headers["Cache-Status"] == "shop; fwd=bypass; detail=authorization"
    response = client.get("/b", headers=alice)
    assert response.text == "alice"
    assert response.headers["Cache-Status"] == "shop; fwd=miss; detail=authorization"
    assert client.get("/b").text == "nobody"
