"""What the client gets: status, headers and body, on success and on refusal."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Response, jsonify
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests
from werkzeug.test import create_environ, run_wsgi_app

from flask_redis_kit import RateLimitExceeded, RedisKitError, rate_limit
from tests.ratelimit.conftest import Limited

TRIO = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


@pytest.fixture
def once(limited: Limited) -> Limited:
    """``/`` is admitted once in a minute, ``/free`` always."""

    @limited.app.get("/")
    @rate_limit(limit=1, window=60)
    def home() -> str:
        return "ok"

    limited.app.get("/free")(lambda: "free")
    return limited


def test_an_admitted_response_tells_how_much_is_left(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=3, window=60)
    def home() -> str:
        return "ok"

    for left in (2, 1, 0):
        early = time.time()
        response = limited.client.get("/")
        late = time.time()
        assert response.headers["X-RateLimit-Limit"] == "3"
        assert response.headers["X-RateLimit-Remaining"] == str(left)
        reset = int(response.headers["X-RateLimit-Reset"])
        assert early + 50 <= reset <= math.ceil(late + 60)
        assert "Retry-After" not in response.headers
        assert "Cache-Control" not in response.headers


def test_a_refusal_is_a_429_that_says_when_to_come_again(once: Limited) -> None:
    once.client.get("/")
    for _ in range(2):  # the second refusal is known in this process
        early = time.time()
        response = once.client.get("/")
        late = time.time()
        assert response.status_code == 429
        assert [response.headers[name] for name in TRIO[:2]] == ["1", "0"]
        wait = int(response.headers["Retry-After"])
        assert 1 <= wait <= 60
        assert early - 2 <= int(response.headers["X-RateLimit-Reset"]) - wait <= late + 2
        assert response.headers["Cache-Control"] == "no-store"
        for name in (*TRIO, "Retry-After", "Cache-Control"):
            assert len(response.headers.getlist(name)) == 1


def test_retry_after_is_at_least_a_second(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=0.4)
    def home() -> str:
        return "ok"

    responses = [limited.client.get("/") for _ in range(2)]
    while responses[-1].status_code != 429:  # a slow machine may take longer than the window
        responses.append(limited.client.get("/"))
    assert responses[-1].headers["Retry-After"] == "1"


def test_the_tightest_of_several_limits_is_shown(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=100, window=60)
    @rate_limit(limit=4, window=3600)
    def home() -> str:
        limited.kit.ratelimit.check(limit=50, window=60, key="k")
        return "ok"

    @limited.app.get("/checks")
    def checks() -> str:
        for limit, name in ((9, "a"), (2, "b"), (7, "c")):
            limited.kit.ratelimit.check(limit=limit, window=60, key="k", name=name)
        return "ok"

    for path, shown in (("/", ["4", "3"]), ("/checks", ["2", "1"])):
        headers = limited.client.get(path).headers
        assert [headers[name] for name in TRIO[:2]] == shown


def test_of_two_limits_with_as_much_left_the_later_one_is_shown(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=100)
    @rate_limit(limit=1, window=500)
    def home() -> str:
        return "ok"

    limited.client.get("/")
    assert 400 < int(limited.client.get("/").headers["Retry-After"]) <= 500


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        ("application/problem+json, text/html;q=0.5", "application/problem+json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("no mime type at all", "application/problem+json"),
    ],
)
def test_the_body_is_what_the_client_reads(
    once: Limited, accept: str | None, content_type: str
) -> None:
    once.client.get("/")
    response = once.client.get("/", headers={"Accept": accept} if accept else {})
    assert response.status_code == 429
    assert response.mimetype == content_type
    if content_type == "text/html":
        assert "<h1>Too Many Requests</h1>" in response.text
        assert "At most 1 request in 60 seconds" in response.text
        return
    body: dict[str, Any] = response.get_json(force=True)
    assert body["type"].endswith("#quota-exceeded")
    assert (body["status"], body["title"]) == (429, "Too Many Requests")
    assert body["retry_after"] == int(response.headers["Retry-After"])
    assert "127.0.0.1" not in response.text


def test_a_response_without_limits_has_no_headers(once: Limited) -> None:
    response = once.client.get("/free")
    assert not {*TRIO, "Retry-After"} & set(response.headers.keys())


def test_the_headers_are_right_on_whatever_a_view_returns(limited: Limited) -> None:
    def streamed() -> Response:
        return Response(iter(["a", "b"]))

    def failing() -> str:
        raise RuntimeError("a defect of the view")

    views: dict[str, Callable[[], ResponseReturnValue]] = {
        "tuple": lambda: ("made", 201, {"X-Own": "1"}),
        "response": lambda: jsonify(a=1),
        "streamed": streamed,
        "failing": failing,
        "dict": lambda: {"a": 1},
    }
    for name, view in views.items():
        limited.app.add_url_rule(f"/{name}", name, rate_limit(limit=5, window=60)(view))
    limited.app.config["PROPAGATE_EXCEPTIONS"] = False
    seen = {name: limited.client.get(f"/{name}") for name in views}
    statuses = {name: response.status_code for name, response in seen.items()}
    assert statuses == {
        "tuple": 201,
        "response": 200,
        "streamed": 200,
        "failing": 500,
        "dict": 200,
    }
    assert {response.headers["X-RateLimit-Remaining"] for response in seen.values()} == {"4"}


def test_an_error_handler_of_the_application_keeps_the_headers(once: Limited) -> None:
    @once.app.errorhandler(429)
    def too_many(error: RateLimitExceeded) -> tuple[str, int]:
        return f"own page: {error.limit} per {error.window:g} s", 429

    once.client.get("/")
    response = once.client.get("/")
    assert response.text == "own page: 1 per 60 s"
    assert int(response.headers["Retry-After"]) >= 1
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-RateLimit-Remaining"] == "0"


def test_a_view_that_goes_on_after_a_refusal_answers_200_without_retry_after(
    limited: Limited,
) -> None:
    @limited.app.get("/")
    def home() -> str:
        try:
            limited.kit.ratelimit.check(limit=1, window=60, key="k")
        except RateLimitExceeded:
            return "plain page"
        return "rich page"

    assert limited.client.get("/").text == "rich page"
    response = limited.client.get("/")
    assert (response.status_code, response.text) == (200, "plain page")
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert "Retry-After" not in response.headers


def test_the_error_carries_its_data_and_not_the_key(limited: Limited) -> None:
    with limited.app.app_context():
        limited.kit.ratelimit.check(limit=1, window=62.5, key="secret-user")
        with pytest.raises(RateLimitExceeded) as refused:
            limited.kit.ratelimit.check(limit=1, window=62.5, key="secret-user")
    error = refused.value
    assert isinstance(error, RedisKitError)
    assert isinstance(error, TooManyRequests)
    assert error.code == 429
    assert isinstance(error.retry_after, float)
    assert 0 < error.retry_after <= 62.5
    assert (error.limit, error.window, error.result.remaining) == (1, 62.5, 0)
    assert "secret" not in f"{error} {error.description} {error!r}"
    assert "in 62.5 seconds" in str(error)
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301  # as a pool does
    assert type(copied) is RateLimitExceeded
    assert vars(copied) == vars(error)
    assert str(copied) == str(error)


def test_a_limit_that_is_asked_twice_is_shown_as_it_stands_at_the_end(limited: Limited) -> None:
    @limited.app.get("/")
    def home() -> str:
        for _ in range(2):
            limited.kit.ratelimit.check(limit=5, window=60, key="k")
        return str(limited.kit.ratelimit.current and limited.kit.ratelimit.current.remaining)

    response = limited.client.get("/")
    assert response.text == "3"
    assert response.headers["X-RateLimit-Remaining"] == "3"
    assert response.headers["RateLimit"].count("r=") == 1


@pytest.mark.parametrize("accept", [None, "text/html", "text/html;q=0.9, " + "x/y, " * 200])
def test_a_refusal_answers_as_the_response_that_it_makes(once: Limited, accept: str | None) -> None:
    headers = {"Accept": accept} if accept else {}
    with once.app.app_context():
        once.kit.ratelimit.check(limit=1, key="k", name='a "tür"')
        with pytest.raises(RateLimitExceeded) as refused:
            once.kit.ratelimit.check(limit=1, key="k", name='a "tür"')
    for method in ("GET", "HEAD"):
        environ = create_environ("/t%C3%BCr", method=method, headers=headers)
        asked, status, fields = run_wsgi_app(refused.value, environ)
        response = refused.value.get_response(environ)
        _, status_as_made, made = run_wsgi_app(response, environ)
        assert (status, list(fields)) == (status_as_made, list(made))
        body = b"".join(asked)
        assert body == response.data
        assert int(fields["Content-Length"]) == len(body)
        if accept is None:
            told = json.loads(body)
            assert told["violated-policies"] == ['a "tür"']
            assert told["instance"] == "/t%C3%BCr"
            assert told["detail"].startswith("At most 1 request in 60 seconds")


def test_a_refusal_has_each_header_once(once: Limited) -> None:
    once.client.get("/")
    for method in ("GET", "HEAD"):
        response = once.client.open("/", method=method)
        names = [name.lower() for name, _ in response.headers]
        assert len(set(names)) == len(names)
        assert {"retry-after", "cache-control", "content-length", "ratelimit"} <= set(names)
        assert (response.data == b"") == (method == "HEAD")


def test_an_error_handler_s_own_headers_give_way(once: Limited) -> None:
    own = {"Retry-After": "7", "cache-control": "public", "X-RateLimit-Limit": "7", "X-Own": "7"}
    once.app.register_error_handler(429, lambda _: ("handled", 429, own))
    once.client.get("/")
    headers = once.client.get("/").headers
    assert headers.getlist("Retry-After") == ["60"]
    assert headers.getlist("Cache-Control") == ["no-store"]
    assert headers.getlist("X-RateLimit-Limit") == ["1"]
    assert headers["X-Own"] == "7"


def test_a_refusal_of_one_s_own_makes_its_own_response(once: Limited) -> None:
    class Slower(RateLimitExceeded):
        def get_response(self, *_: Any, **__: Any) -> Any:
            return Response("slower", 429)

    with once.app.app_context():
        result = once.kit.ratelimit.check(limit=5, key="k")
    body, status, _ = run_wsgi_app(Slower(result), create_environ("/"))
    assert (b"".join(body), status) == (b"slower", "429 TOO MANY REQUESTS")
