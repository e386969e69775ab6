"""What may be stored for everybody, what may not, and how the developer gets to know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask, Response, abort, g, make_response, request, session

from flask_redis_kit import RedisKit, cache_result
from flask_redis_kit.cache import signals
from tests.cache.conftest import MakeKit
from tests.cache.test_route import Page, was_hit


def stored(redis_client: redis.Redis) -> list[Any]:
    return list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: ("x", 500), "status"),
        (lambda: ("x", 206, {"Content-Range": "bytes 0-0/9"}), "status"),
        (lambda: ("x", {"Set-Cookie": "a=b"}), "set-cookie"),
        (lambda: ("x", {"Cache-Control": "private"}), "cache-control"),
        (lambda: ("x", {"Cache-Control": 'private="X-A"'}), "cache-control"),
        (lambda: ("x", {"Cache-Control": "public, no-store"}), "cache-control"),
        (lambda: ("x", {"Vary": "*"}), "vary"),
        (lambda: (each for each in "ab"), "stream"),
        (lambda: Response(iter("ab")), "stream"),
        (lambda: Response("ab", direct_passthrough=True), "stream"),
        (lambda: "x" * 2000, None),
    ],
)
def test_the_response_says_why_it_is_not_stored(
    make_kit: MakeKit,
    redis_url: str,
    redis_client: redis.Redis,
    answer: Callable[[], Any],
    reason: str | None,
) -> None:
    app = make_kit(redis_url, REDIS_CACHE_MAX_BYTES=1000).state().app
    heard: list[Any] = []
    with signals.refused.connected_to(lambda _, **facts: heard.append(facts), app):
        app.add_url_rule("/", "page", cache_result("page", public=True)(Page(answer).view))
        response = app.test_client().get("/")
        assert response.data
    detail = "" if reason is None else f"; detail={reason}"
    assert response.headers["Cache-Status"] == f"shop; fwd=miss{detail}"
    assert heard == [{"subject": "page", "reason": reason or "size"}]
    assert not stored(redis_client)


def test_one_users_cookie_never_reaches_another(app: Flask, redis_client: redis.Redis) -> None:
    """Flask-Caching stores and replays it."""

    @app.get("/")
    @cache_result()
    def page() -> Response:
        response = make_response("x")
        response.set_cookie("session_of", request.args["who"])
        return response

    for who in ("alice", "bob"):
        response = app.test_client().get(f"/?who={who}")
        assert response.headers.getlist("Set-Cookie") == [f"session_of={who}; Path=/"]
    assert not stored(redis_client)


@pytest.mark.parametrize("where", ["application", "blueprint", "this request"])
def test_a_cookie_set_after_the_view_forbids_as_well(
    app: Flask, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    from flask import Blueprint, after_this_request

    def bake(response: Response) -> Response:
        response.set_cookie("bucket", g.bucket)
        return response

    def view() -> str:
        g.bucket = request.headers["X-Bucket"]
        if where == "this request":
            after_this_request(bake)
        return f"page of {g.bucket}"

    blueprint = Blueprint("b", __name__)
    blueprint.add_url_rule("/", "page", cache_result()(view))
    if where == "application":
        app.after_request(bake)
    elif where == "blueprint":
        blueprint.after_request(bake)
    app.register_blueprint(blueprint)
    with caplog.at_level(logging.WARNING):
        for bucket in ("a", "b"):
            response = app.test_client().get("/", headers={"X-Bucket": bucket})
            assert response.text == f"page of {bucket}"
    assert not stored(redis_client)
    [message] = caplog.messages
    assert "'b.page' is not cached: an after_request function sets a cookie" in message


def test_a_cookie_set_after_a_public_view_is_not_part_of_it(app: Flask) -> None:
    @app.after_request
    def bake(response: Response) -> Response:
        response.set_cookie("seen", "1")
        return response

    app.add_url_rule("/", "page", cache_result(public=True)(Page().view))
    for hit in (False, True):
        response = app.test_client().get("/")
        assert was_hit(response) is hit
        assert len(response.headers.getlist("Set-Cookie")) == 1


def test_a_session_that_is_written_after_the_view_forbids_as_well(
    app: Flask, redis_client: redis.Redis
) -> None:
    @app.after_request
    def count(response: Response) -> Response:
        session["visits"] = session.get("visits", 0) + 1
        return response

    app.add_url_rule("/", "page", cache_result()(Page().view))
    for _ in range(2):
        assert "Set-Cookie" in app.test_client().get("/").headers
    assert not stored(redis_client)


def test_when_is_asked_of_the_response(app: Flask) -> None:
    page = Page(lambda: (request.args["x"], 200))
    view = cache_result(when=lambda response: response.get_data() != b"no")(page.view)
    app.add_url_rule("/", "page", view)
    client = app.test_client()
    client.get("/?x=no")
    assert client.get("/?x=no").headers["Cache-Status"] == "shop; fwd=miss; detail=when"
    client.get("/?x=yes")
    assert was_hit(client.get("/?x=yes"))


def test_tags_and_ttl_of_the_response(kit: RedisKit, app: Flask) -> None:
    page = Page(lambda: ("x", {"X-Author": request.args["author"], "X-Seconds": "50"}))
    view = cache_result(
        ttl=lambda response: float(response.headers["X-Seconds"]),
        tags=["all", lambda response: f"author:{response.headers['X-Author']}"],
    )(page.view)
    app.add_url_rule("/", "page", view)
    client = app.test_client()
    urls = ("/?author=ann", "/?author=ben")
    for url in urls:
        client.get(url)
        assert client.get(url).headers["Cache-Control"] == "private, max-age=50"
    kit.cache.invalidate_tags("author:ann")
    assert [was_hit(client.get(url)) for url in urls] == [False, True]
    kit.cache.invalidate_tags("all")
    assert [was_hit(client.get(url)) for url in urls] == [False, False]


def test_tags_added_while_the_view_runs(kit: RedisKit, app: Flask) -> None:
    @app.get("/")
    @cache_result()
    def page() -> str:
        kit.cache.tag("order:9")
        return "x"

    app.test_client().get("/")
    assert was_hit(app.test_client().get("/"))
    kit.cache.invalidate_tags("order:9")
    assert not was_hit(app.test_client().get("/"))


def test_an_error_that_is_kept_by_choice(kit: RedisKit, app: Flask) -> None:
    from werkzeug.exceptions import Gone, NotFound

    calls: list[str] = []

    @app.get("/<name>")
    @cache_result(exceptions=(NotFound, LookupError), tags=["page:{name}"])
    def page(name: str) -> str:
        calls.append(name)
        if name == "missing":
            abort(404, "no such page")
        if name == "gone":
            raise Gone
        raise LookupError(name)

    @app.errorhandler(LookupError)
    def handle(error: LookupError) -> tuple[str, int]:
        return f"nothing at {error}", 404

    client = app.test_client()
    for hit in (False, True):
        for name, text in (("missing", "no such page"), ("lost", "nothing at lost")):
            response = client.get(f"/{name}")
            assert response.status_code == 404
            assert text in response.text
            assert was_hit(response) is hit
        assert client.get("/gone").status_code == 410
    assert calls == ["missing", "lost", "gone", "gone"]
    kit.cache.invalidate_tags("page:missing")
    assert not was_hit(client.get("/missing"))


def test_an_error_that_nobody_handles_is_an_error_although_it_is_to_be_kept(
    app: Flask, redis_client: redis.Redis
) -> None:
    def fails() -> str:
        raise LookupError

    app.add_url_rule("/", "page", cache_result(exceptions=(LookupError,))(fails))
    for _ in range(2):
        assert app.test_client().get("/").status_code == 500
    assert not stored(redis_client)


def test_an_error_that_a_coroutine_handles_is_handled_by_it(app: Flask) -> None:
    app.testing = True

    @app.get("/")
    @cache_result(exceptions=(LookupError,))
    async def page() -> str:
        raise LookupError

    @app.errorhandler(LookupError)
    async def handle(_: LookupError) -> tuple[str, int]:
        return "nothing", 404

    for _ in range(2):
        assert app.test_client().get("/").text == "nothing"


def test_a_codec_of_ones_own_for_pages(app: Flask) -> None:
    class Reversed:
        def encode(self, value: Any, /) -> bytes:
            import msgspec

            return msgspec.msgpack.encode(value)[::-1]

        def decode(self, data: bytes, /) -> Any:
            import msgspec

            return msgspec.msgpack.decode(data[::-1])

    app.add_url_rule("/", "page", cache_result(codec=Reversed())(Page().view))
    app.test_client().get("/")
    response = app.test_client().get("/")
    assert (response.text, was_hit(response)) == ("hello", True)


def test_what_is_stored_but_no_response_counts_as_absent(
    app: Flask, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong:
        def encode(self, _: Any, /) -> bytes:
            return b"x"

        def decode(self, _: bytes, /) -> Any:
            return ["200 OK", [["X-A", "1\r\nX-B: 2"]], b"", 0]

    page = Page()
    app.add_url_rule("/", "page", cache_result(codec=Wrong())(page.view))
    for _ in range(2):
        response = app.test_client().get("/")
        assert response.text == "hello"
        assert "X-B" not in response.headers
    assert page.calls == 2
    assert any("can't be read" in text for text in caplog.messages)


def test_each_outcome_is_heard(app: Flask) -> None:
    heard: list[str] = []
    listeners = {
        name: (lambda _, name=name, **facts: heard.append(f"{name} {facts['subject']}"))
        for name in ("hit", "miss", "stored", "refused")
    }
    for name, listener in listeners.items():
        getattr(signals, name).connect(listener, app)
    app.add_url_rule("/", "page", cache_result("page")(Page().view))
    for ask in (app.test_client().get, app.test_client().get, app.test_client().head):
        ask("/")
    app.test_client().get("/", headers={"Authorization": "x"})
    assert heard == ["miss page", "stored page", "hit page", "hit page", "refused page"]
