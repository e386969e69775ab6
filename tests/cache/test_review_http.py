"""One visitor's page at another's: the ways to it that a review has tried."""

from __future__ import annotations

import functools
import itertools
import logging
from typing import Any

import flask_login
import pytest
from flask import Flask, Response, g, render_template, render_template_string, request, session
from flask.testing import FlaskClient
from flask.views import View
from jinja2 import DictLoader

from flask_redis_kit import RedisKit, cache_result
from tests.cache.test_route import Page, status_of, was_hit


def answer(*headers: tuple[str, str]) -> Response:
    response = Response("hello")
    for name, value in headers:
        response.headers.add(name, value)
    return response


@pytest.mark.parametrize(
    "headers",
    [
        [("Cache-Control", "Private")],
        [("Cache-Control", "No-Store")],
        [("Cache-Control", "max-age=3, PRIVATE")],
        [("Cache-Control", 'Private="X-User"')],
        [("Cache-Control", "public"), ("Cache-Control", "private")],
        [("Vary", "Accept"), ("Vary", "Cookie")],
        [("Vary", "Accept"), ("vary", "*")],
    ],
)
def test_what_forbids_to_store_is_heard_in_any_case_and_line(
    app: Flask, headers: list[tuple[str, str]]
) -> None:
    """Directives know no case (RFC 9111, 5.2), and lines of one name are one list (RFC 9110)."""
    page = Page(lambda: answer(*headers))
    app.add_url_rule("/", "page", cache_result(vary=["Accept"])(page.view))
    client = app.test_client()
    for _ in range(2):
        assert "detail=" in client.get("/").headers["Cache-Status"]
    assert page.calls == 2


def test_a_permission_is_heard_in_any_case(app: Flask) -> None:
    page = Page(lambda: answer(("Cache-Control", "max-age=3"), ("Cache-Control", "Public")))
    app.add_url_rule("/", "page", cache_result()(page.view))
    client = app.test_client()
    client.get("/", headers={"Authorization": "Bearer a"})  # tells that it is permitted
    client.get("/", headers={"Authorization": "Bearer a"})
    assert was_hit(client.get("/", headers={"Authorization": "Bearer b"}))


def test_a_get_with_a_body_gets_an_answer_of_its_own(app: Flask) -> None:
    """Nothing of a body is in a GET's key: it could put another page in front of everyone."""

    @app.get("/")
    @cache_result()
    def search() -> str:
        return f"{request.form.get('q')} {request.get_json(silent=True)}"

    client = app.test_client()
    for asked in ({"data": {"q": "evil"}}, {"json": "evil"}):
        response = client.get("/", **asked)
        assert "evil" in response.text
        assert status_of(response) == "fwd"
        assert "detail=body" in response.headers["Cache-Status"]
    assert client.get("/").text == "None None"
    assert was_hit(client.get("/"))
    assert "evil" in client.get("/", json="evil").text


def test_a_get_with_a_body_in_its_key(app: Flask) -> None:
    @app.get("/")
    @cache_result(body_key=True)
    def search() -> str:
        return str(request.get_json(silent=True))

    client = app.test_client()
    for hit in (False, True):
        for asked in ("one", "two"):
            response = client.get("/", json=asked)
            assert response.text == asked
            assert was_hit(response) is hit
        response = client.get("/")
        assert response.text == "None"
        assert was_hit(response) is hit


@pytest.mark.parametrize("vary", [[lambda: session.get("name")], ["Cookie"]])
def test_what_a_view_writes_into_a_session_is_nobody_elses(app: Flask, vary: Any) -> None:
    """Without a cookie everybody looks the same, until the view makes them somebody."""
    tokens = itertools.count(1)

    @app.get("/")
    @cache_result(vary=vary)
    def form() -> str:
        if "token" not in session:
            session["token"] = next(tokens)
        return f"token {session['token']}"

    first, second = app.test_client(), app.test_client()
    assert [each.get("/").text for each in (first, second)] == ["token 1", "token 2"]
    response = app.test_client().get("/")
    assert response.text == "token 3"
    assert "detail=session" in response.headers["Cache-Status"]


def test_what_changes_after_a_page_was_looked_up_ahead_counts(kit: RedisKit, app: Flask) -> None:
    """A look-up travels with the first trip; a hook may still say whose page it is."""

    @app.before_request
    def tenant() -> None:
        kit.cache.get("anything")
        assert request.view_args is not None
        request.view_args["name"] = f"{request.headers['X-Tenant']}'s {request.view_args['name']}"
        request.environ["HTTP_X_USER"] = request.headers["X-Tenant"]

    @app.get("/<name>")
    @cache_result()
    def page(name: str) -> str:
        return name

    @app.get("/of/<name>")
    @cache_result(vary=["X-User"], ignore=["name"])
    def of(name: str) -> str:
        return str(request.environ["HTTP_X_USER"])

    client = app.test_client()
    for hit in (False, True):
        for who in ("alice", "bob"):
            response = client.get("/page", headers={"X-Tenant": who})
            assert response.text == f"{who}'s page"
            assert was_hit(response) is hit
            assert client.get("/of/page", headers={"X-Tenant": who}).text == who


def test_a_view_called_by_another_one_does_not_take_a_query_for_its_own(app: Flask) -> None:
    """As a plain function it is known by its arguments, and what it answers is not."""

    @app.get("/search")
    @cache_result()
    def search() -> str:
        return f"found {request.args.get('q')} {request.form.get('q')}"

    app.add_url_rule("/", "index", lambda: search(), methods=["GET", "POST"])
    client = app.test_client()
    for who in ("alice", "bob"):
        assert client.get(f"/?q={who}").text == f"found {who} None"
        assert client.post("/", data={"q": who}).text == f"found None {who}"
    assert client.get("/").text == "found None None"


def answer_of_request(**arguments: str) -> str:
    asked = request.args.get("q"), request.headers.get("X-User"), request.host
    return f"{arguments} {asked}"


def get_in_all_ways(client: FlaskClient, url: str) -> None:
    """Each request gets its own answer, first and later."""
    for _ in range(2):
        for query, host in itertools.product(("", "?q=a"), ("one", "two")):
            told = client.get(url + query, base_url=f"http://{host}").text
            assert told.endswith(str((query[3:] or None, None, host)))


def test_a_view_that_a_decorator_hides_is_refused_with_one_warning(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """Without functools.wraps nothing says that the call is the request's: no URL, no header."""

    def plain(function: Any) -> Any:
        return lambda *args, **kwargs: function(*args, **kwargs)

    view = cache_result()(answer_of_request)
    app.add_url_rule("/<name>", "once", plain(view))
    app.add_url_rule("/twice/<name>", "twice", plain(plain(view)))
    app.add_url_rule("/above/<name>", "above", functools.wraps(view)(plain(plain(view))))
    client = app.test_client()
    with caplog.at_level(logging.WARNING):
        for url in ("/x", "/twice/x"):
            get_in_all_ways(client, url)
    assert len(caplog.messages) == 2
    assert all("has no functools.wraps" in message for message in caplog.messages)
    get_in_all_ways(client, "/above/x")
    client.get("/above/x")
    assert was_hit(client.get("/above/x"))


def test_what_a_view_of_a_factory_calls_is_not_taken_for_it(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    page = Page(lambda: "x")
    helper = cache_result("helper")(page.view)
    app.add_url_rule("/", "page", lambda: f"page of {helper()}")
    for _ in range(2):
        assert app.test_client().get("/?q=1").text == "page of x"
    assert page.calls == 1
    assert not caplog.messages


def test_a_partial_as_a_view(app: Flask) -> None:
    view = functools.partial(cache_result()(answer_of_request), kind="a")
    app.add_url_rule("/<name>", "page", view)
    client = app.test_client()
    get_in_all_ways(client, "/x")
    client.get("/x")
    assert was_hit(client.get("/x"))


def test_the_one_method_of_a_view_class(kit: RedisKit, app: Flask) -> None:
    class Shown(View):
        @cache_result()
        def dispatch_request(self, name: str) -> str:  # type: ignore[override]  # as Flask allows
            return answer_of_request(name=name)

    app.add_url_rule("/<name>", view_func=Shown.as_view("shown"))
    client = app.test_client()
    get_in_all_ways(client, "/x")
    client.get("/x")
    assert was_hit(client.get("/x"))
    kit.cache.invalidate_endpoint("shown", name="x")
    assert not was_hit(client.get("/x"))


@pytest.mark.parametrize(
    "segment",
    ["c%23", "what%3F", "a%3Fb=c", "a%20b", "a%2520b", "100%25", "a%09b", "%C3%BC", "a;b", "%FF"],
)
def test_a_path_as_the_application_knows_it_invalidates(
    kit: RedisKit, app: Flask, segment: str
) -> None:
    """``request.path`` and an f-string are not quoted: ``#`` and ``?`` are of the path there."""
    paths: list[str] = []
    app.before_request(lambda: paths.append(request.path))
    app.add_url_rule("/tag/<name>", "tag", cache_result()(Page().view))
    client = app.test_client()
    url = f"/tag/{segment}"
    client.get(url)
    for spelled in (url, paths[0], f"https://shop.example{url}"):
        assert was_hit(client.get(url))
        kit.cache.invalidate_url(spelled)
        assert not was_hit(client.get(url)), spelled


def test_a_page_that_was_not_stored_once_is_stored_when_it_may_be(app: Flask) -> None:
    page = Page(lambda: ("busy", 503) if page.calls == 1 else "hello")
    app.add_url_rule("/", "page", cache_result()(page.view))
    client = app.test_client()
    assert [client.get("/").text for _ in range(3)] == ["busy", "hello", "hello"]
    assert page.calls == 2


def login(app: Flask) -> None:
    app.add_url_rule("/login/<name>", "login", lambda name: session.update(name=name) or "")


def greeted(app: Flask, url: str = "/") -> list[str]:
    """What alice, bob and a visitor see, each of them twice."""
    alice, bob, visitor = app.test_client(), app.test_client(), app.test_client()
    alice.get("/login/alice")
    bob.get("/login/bob")
    return [each.get(url).text for _ in range(2) for each in (alice, bob, visitor)]


EACH = ["alice", "bob", "None"] * 2


@pytest.mark.parametrize(
    "varies", ["", ', "en"', ", lang", ', request.args.get("x")', ", g.lang"], ids=str
)
@pytest.mark.parametrize("shows", ['session.get("name")', "name()"])
def test_a_fragment_that_reads_a_session_read_before(app: Flask, varies: str, shows: str) -> None:
    """Who the user is was asked before, as most applications do; what it varies by says nothing."""
    login(app)

    @app.before_request
    def load() -> None:
        session.get("name")
        g.lang = "en"

    @app.get("/")
    def home() -> str:
        source = f'{{% cache 300, "x"{varies} %}}{{{{ {shows} }}}}{{% endcache %}}'
        return render_template_string(source, lang="en", name=lambda: session.get("name"))

    assert greeted(app) == EACH


@pytest.mark.parametrize("varies", ['session.get("name")', "name", "g.name"])
def test_a_fragment_that_says_whose_it_is(app: Flask, varies: str) -> None:
    login(app)
    rendered = itertools.count()

    @app.before_request
    def load() -> None:
        g.name = session.get("name")

    @app.get("/")
    def home() -> str:
        source = f'{{% cache 300, "x", {varies} %}}{{{{ session.get("name") }}}}{{% endcache %}}'
        next(rendered)
        return render_template_string(source, name=g.name)

    assert greeted(app) == EACH


def test_a_fragment_of_the_user_that_a_hook_has_loaded(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """As in Flask's own tutorial: the session is read before, the template sees ``g`` only."""
    login(app)
    app.before_request(lambda: setattr(g, "user", session.get("name")))
    source = '{% cache 300, "nav" %}{{ g.user }}{% endcache %}'
    app.add_url_rule("/", "home", lambda: render_template_string(source))
    with caplog.at_level(logging.WARNING):
        assert greeted(app) == EACH
    assert len(caplog.messages) == 1
    assert "session" in caplog.messages[0]
    assert "g" in caplog.messages[0]


@pytest.mark.parametrize("template", ["included", "child"])
def test_a_fragment_that_stands_in_another_template(app: Flask, template: str) -> None:
    login(app)
    app.before_request(lambda: setattr(g, "user", session.get("name")))
    sources = {
        "nav": "{{ g.user }}",
        "included": '{% cache 300, "x" %}{% include "nav" %}{% endcache %}',
        "base": '{% cache 300, "x" %}{% block nav %}{% endblock %}{% endcache %}',
        "child": '{% extends "base" %}{% block nav %}{{ g.user }}{% endblock %}',
    }
    app.jinja_loader = DictLoader(sources)
    app.add_url_rule("/", "home", lambda: render_template(template))
    assert greeted(app) == EACH


def test_a_fragment_with_others_in_it_for_everybody(app: Flask) -> None:
    login(app)
    rendered = itertools.count(1)
    app.before_request(lambda: session.get("name") and None)
    app.jinja_loader = DictLoader({"menu": "{{ n() }}"})
    source = '{% cache 300, "x", public=true %}{% include "menu" %}{% endcache %}'
    app.add_url_rule("/", "home", lambda: render_template_string(source, n=lambda: next(rendered)))
    assert greeted(app) == ["1"] * 6


def test_a_fragment_of_the_current_user(app: Flask) -> None:
    manager = flask_login.LoginManager(app)

    class User(flask_login.UserMixin):  # type: ignore[misc]  # untyped
        def __init__(self, name: str) -> None:
            self.id = name

    manager.user_loader(User)
    app.add_url_rule("/login/<name>", "login", lambda name: str(flask_login.login_user(User(name))))
    for url, varies in (("/", ""), ("/lang", ', "en"'), ("/own", ", current_user.get_id()")):
        source = f'{{% cache 300, "nav"{varies} %}}{{{{ current_user.get_id() }}}}{{% endcache %}}'
        app.add_url_rule(url, url, lambda source=source: render_template_string(source))
    for url in ("/", "/lang", "/own"):
        assert greeted(app, url) == EACH


def test_what_a_fragment_varies_by_is_missing(app: Flask) -> None:
    """It may be a misspelt name: then one fragment would be everybody's."""
    source = '{% cache 300, "menu", session.user_id %}x{% endcache %}'
    app.add_url_rule("/", "home", lambda: render_template_string(source))
    app.testing = True
    with pytest.raises(TypeError, match=r"'menu'.*vary 1.*undefined.*session.get\(\"user_id\"\)"):
        app.test_client().get("/")


def test_public_of_a_fragment_is_true_or_false(app: Flask) -> None:
    source = '{% cache 300, "menu", public="no" %}x{% endcache %}'
    app.add_url_rule("/", "home", lambda: render_template_string(source))
    app.testing = True
    with pytest.raises(TypeError, match="public must be true or false, not 'no'"):
        app.test_client().get("/")
