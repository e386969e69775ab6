"""What hooks and decorators do to a page after the cache: its ``ETag``, 304, cookies of users."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

import pytest
from flask import Flask, Response, after_this_request, g, make_response, request
from flask.views import MethodView
from werkzeug.http import generate_etag
from werkzeug.test import TestResponse

from flask_redis_kit import RedisKit, cache_result
from tests.cache.test_route import was_hit
from tests.harness.servers import Server


def page() -> str:
    return "a page, {greeting}"


def greet(response: Response) -> Response:
    """Puts what is one user's into every page."""
    if not response.direct_passthrough:
        name = request.args.get("name") or request.headers.get("X-Name", "nobody")
        response.set_data(response.get_data(as_text=True).format(greeting=f"hello {name}"))
    return response


def another(response: Response) -> Response:
    """The same in a response of its own."""
    made = make_response(greet(response).get_data(), response.status_code)
    made.headers.extend((k, v) for k, v in response.headers if k != "Content-Length")
    return made


def in_place(response: Response) -> Response:
    """The same, set in another way."""
    response.response = [
        part.replace(b"{greeting}", request.headers.get("X-Name", "").encode())
        for part in response.iter_encoded()
    ]
    del response.headers["Content-Length"]
    return response


def ask(app: Flask, name: str, etag: str | None = None) -> TestResponse:
    headers = {"X-Name": name}
    return app.test_client().get("/", headers=headers | ({"If-None-Match": etag} if etag else {}))


def above(hook: Callable[[Response], Response]) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """A decorator above @cache_result that does what a hook does."""

    def decorate(view: Callable[[], Any]) -> Callable[[], Any]:
        @wraps(view)
        def wrapper() -> Any:
            return hook(make_response(view()))

        return wrapper

    return decorate


@pytest.mark.parametrize("hook", [greet, another, in_place])
@pytest.mark.parametrize("place", ["before the kit", "behind the kit", "above the cache"])
def test_a_page_that_a_hook_changes_is_not_taken_for_what_it_was(
    server: Server, hook: Callable[[Response], Response], place: str
) -> None:
    app = Flask("shop")
    app.config.update(REDIS_URL=server.url)
    if place == "before the kit":
        app.after_request(hook)
    kit = RedisKit(app, features=("cache",))
    if place == "behind the kit":
        app.after_request(hook)
    view = cache_result(vary=["X-Page"])(page)
    app.add_url_rule("/", "page", above(hook)(view) if place == "above the cache" else view)
    for hit in (False, True):
        first = ask(app, "alice")
        assert was_hit(first) is hit
        assert "alice" in first.text
        etag = first.headers["ETag"]
        same = ask(app, "alice", etag)
        assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", etag)
        other = ask(app, "bob", etag)
        assert other.status_code == 200
        assert "bob" in other.text
        assert other.headers["ETag"] != etag
    with app.app_context():
        kit.close()


def test_a_page_made_of_another_one_has_an_etag_of_its_own(app: Flask) -> None:
    """A view class whose method is cached, and which is cached as a whole."""

    def shout(view: Callable[[], Any]) -> Callable[[], Any]:
        @wraps(view)
        def wrapper() -> Response:
            response = make_response(view())
            response.set_data(response.get_data().upper())
            return response

        return wrapper

    class Page(MethodView):
        decorators: ClassVar[list[Any]] = [shout, cache_result()]

        @cache_result()
        def get(self) -> str:
            return "a page"

    app.add_url_rule("/", view_func=Page.as_view("page"))
    for _ in range(2):
        response = ask(app, "alice")
        assert response.text == "A PAGE"
        assert response.get_etag() == (generate_etag(b"A PAGE"), False)


def test_an_etag_that_a_hook_gives_is_the_one_that_counts(app: Flask) -> None:
    @app.after_request
    def compress(response: Response) -> Response:
        response.headers["ETag"] = '"of the hook"'
        response.set_data(b"compressed")
        return response

    app.add_url_rule("/", "page", cache_result()(page))
    for _ in range(2):
        assert ask(app, "alice").headers["ETag"] == '"of the hook"'
        assert ask(app, "alice", '"of the hook"').status_code == 304
        assert ask(app, "alice", '"another"').data == b"compressed"


def test_what_a_hook_streams_has_no_etag(app: Flask) -> None:
    @app.after_request
    def stream(response: Response) -> Response:
        body = response.get_data()
        response.response = (body[n : n + 1] for n in range(len(body)))
        return response

    app.add_url_rule("/", "page", cache_result()(page))
    for _ in range(2):
        response = ask(app, "alice", "*")
        assert (response.status_code, response.text) == (200, page())
        assert "ETag" not in response.headers


def test_a_hook_that_makes_an_error_of_a_page_gets_its_way(app: Flask) -> None:
    @app.after_request
    def fail(response: Response) -> Response:
        response.status_code = 418
        return response

    app.add_url_rule("/", "page", cache_result()(page))
    etag = ask(app, "alice").headers["ETag"]
    assert ask(app, "alice", etag).status_code == 418


def test_hooks_see_the_page_that_a_browser_knows(app: Flask) -> None:
    seen: list[tuple[int, bytes]] = []

    @app.after_request
    def look(response: Response) -> Response:
        seen.append((response.status_code, response.get_data()))
        return response

    app.add_url_rule("/", "page", cache_result()(page))
    etag = ask(app, "alice").headers["ETag"]
    assert ask(app, "alice", etag).status_code == 304
    assert seen == [(200, page().encode())] * 2


def keep_token(response: Response) -> Response:
    if "token" in g:
        response.set_cookie("token", g.token)
    return response


def keep_token_anew(response: Response) -> Response:
    """In a response of its own, as a middleware made into a hook does."""
    made = Response(response.get_data(), response.status_code, list(response.headers))
    return keep_token(made)


@pytest.mark.parametrize("sessions", [(), ("sessions",)], ids=["", "sessions in Redis"])
@pytest.mark.parametrize("keep", [keep_token, keep_token_anew])
@pytest.mark.parametrize("when", ["always", "this time"])
def test_a_page_is_not_stored_when_a_hook_sets_a_cookie_for_what_it_shows(
    make_kit: Callable[..., RedisKit],
    redis_url: str,
    sessions: tuple[str, ...],
    keep: Callable[[Response], Response],
    when: str,
) -> None:
    """A form and its token, say: one visitor's token would be in everybody's form."""
    app = make_kit(redis_url, features=("cache", *sessions)).state().app
    tokens = iter(f"token-{n}" for n in range(9))
    if when == "always":
        app.after_request(keep)

    @app.get("/")
    @cache_result()
    def form() -> str:
        g.token = next(tokens)
        if when == "this time":
            after_this_request(keep)
        return f"form with {g.token}"

    for n in range(3):
        response = app.test_client().get("/")
        assert response.text == f"form with token-{n}"
        assert f"token=token-{n}" in response.headers["Set-Cookie"]


def test_others_may_not_keep_a_public_page_with_a_cookie(app: Flask) -> None:
    """Who comes for the first time has no cookie yet, and gets one."""

    @app.after_request
    def welcome(response: Response) -> Response:
        if "visitor" not in request.cookies:
            response.set_cookie("visitor", "one of many")
        return response

    app.add_url_rule("/", "page", cache_result(ttl=60, public=True)(page))
    for _ in range(3):
        response = app.test_client().get("/")
        assert "visitor=" in response.headers["Set-Cookie"]
    assert was_hit(response)
    assert response.headers["Cache-Control"].startswith("private, max-age=")
