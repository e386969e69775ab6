"""Sessions in Redis tell which keys are read: ``vary=`` must read them, too, or no page is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import flask_login
import pytest
from flask import Flask, Response, flash, g, get_flashed_messages, request, session
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_redis_kit import RedisKit, RedisSessionInterface, cache_result
from tests.cache.conftest import MakeKit
from tests.cache.test_route import was_hit

Read = Callable[[], object]


@pytest.fixture
def kit(make_kit: MakeKit, redis_url: str) -> RedisKit:
    kit = make_kit(redis_url, features=("cache", "sessions"))
    app = kit.state().app
    app.session_interface = RedisSessionInterface(kit)

    @app.get("/with/<key>/<value>")
    def put(key: str, value: str) -> str:
        session[key] = value
        return ""

    return kit


def client_with(app: Flask, **contents: str) -> FlaskClient:
    client = app.test_client()
    for key, value in contents.items():
        client.get(f"/with/{key}/{value}")
    return client


def pages(app: Flask, *clients: FlaskClient) -> list[tuple[str, bool]]:
    """What each gets, twice in turn, and whether it came from the cache."""
    answers = [client.get("/") for _ in range(2) for client in clients]
    return [(answer.text, was_hit(answer)) for answer in answers]


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "flask_redis_kit.cache")


READS: dict[str, Read] = {
    "get": lambda: session.get("name"),
    "item": lambda: session["name"],
    "in": lambda: "name" in session and g.name,
    "pop": lambda: dict(session).pop("name"),
    "all": lambda: sorted(session.items()),
    "length": lambda: len(session),
    "id": lambda: getattr(session, "sid"),  # noqa: B009  # a SessionMixin has none
}


@pytest.mark.parametrize("read", READS)
def test_a_page_by_language_that_shows_the_name_reaches_its_own_user_only(
    kit: RedisKit, caplog: pytest.LogCaptureFixture, read: str
) -> None:
    app = kit.state().app
    app.before_request(lambda: setattr(g, "name", "of g"))

    @app.get("/")
    @cache_result(vary=[lambda: session.get("lang")])
    def home() -> str:
        return f"{session.get('lang')}: {READS[read]()}"

    alice = client_with(app, lang="de", name="alice")
    bob = client_with(app, lang="de", name="bob", more="x")
    found = pages(app, alice, bob)
    assert not any(hit for _, hit in found)
    assert len(caplog.messages) == 1
    which = {"pop": "all of it", "all": "all of it", "length": "all of it", "id": "'session.sid'"}
    assert (
        f"it reads of the session what no function in vary= reads ({which.get(read, repr('name'))})"
        in caplog.text
    )


def test_a_page_that_shows_what_vary_reads_is_one_for_all_with_the_same(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.state().app
    view = cache_result(vary=[lambda: session.get("lang")])(lambda: f"{session.get('lang')}")
    app.add_url_rule("/", "home", view)
    alice = client_with(app, lang="de", name="alice")
    bob, carol = client_with(app, name="bob", lang="de"), client_with(app, name="carol")
    assert [client.get("/").text for client in (alice, bob, carol)] == ["de", "de", "None"]
    assert all(was_hit(client.get("/")) for client in (alice, bob, carol))
    assert not caplog.messages


def test_a_user_loaded_from_the_session_before_counts_as_read(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.state().app

    @app.before_request
    def load() -> None:
        g.name, g.lang = session.get("name"), session.get("lang")

    @app.get("/")
    @cache_result(vary=[lambda: g.lang])
    def home() -> str:
        return f"{g.lang}: {g.name}"

    alice, bob = (client_with(app, lang="de", name=name) for name in ("alice", "bob"))
    assert pages(app, alice, bob) == [("de: alice", False), ("de: bob", False)] * 2


@pytest.mark.parametrize("loaded", [False, True], ids=["", "loaded before"])
def test_who_says_who_the_user_is_may_read_all_that_is_his(
    kit: RedisKit, caplog: pytest.LogCaptureFixture, loaded: bool
) -> None:
    app = kit.state().app
    if loaded:
        app.before_request(lambda: setattr(g, "user_id", session.get("user_id")))

    def factor() -> object:
        return g.user_id if loaded else session.get("user_id")

    @app.get("/")
    @cache_result(vary=[factor])
    def home() -> str:
        return f"Hello {session.get('name')}, {len(session)}"

    alice = client_with(app, user_id="7", name="alice")
    bob = client_with(app, user_id="8", name="bob")
    expected = [("Hello alice, 2", False), ("Hello bob, 2", False)]
    assert pages(app, alice, bob) == expected + [(text, True) for text, _ in expected]
    assert not caplog.messages


@pytest.mark.parametrize("size", ["wide", "narrow"], ids=["is there", "a default"])
def test_a_value_that_happens_to_be_the_users_id_does_not_say_who_he_is(
    kit: RedisKit, size: str
) -> None:
    app = kit.state().app
    view = cache_result(vary=[lambda: session.get(size, "7")])(lambda: str(session.get("name")))
    app.add_url_rule("/", "home", view)
    alice = client_with(app, user_id="7", name="alice", wide="7")
    bob = client_with(app, user_id="8", name="bob", wide="7")
    assert [text for text, _ in pages(app, alice, bob)] == ["alice", "bob"] * 2


@pytest.mark.parametrize("page", ["1", "alice"])
def test_what_equals_something_of_one_visitor_by_chance_tells_nobody_apart(
    kit: RedisKit, page: str
) -> None:
    app = kit.state().app

    @app.get("/")
    @cache_result(vary=[lambda: session.get("lang"), lambda: request.args.get("page")])
    def home() -> str:
        return f"{session.get('lang')}: {session.get('name')}"

    alice = client_with(app, lang="de", user_id="1", name="alice")
    bob = client_with(app, lang="de", user_id="2", name="bob")
    texts = [client.get(f"/?page={page}").text for client in (alice, bob, alice)]
    assert texts == ["de: alice", "de: bob", "de: alice"]


def test_what_equals_the_users_id_by_chance_is_not_it_when_another_function_reads_that(
    kit: RedisKit,
) -> None:
    app = kit.state().app
    app.before_request(lambda: setattr(g, "user", session.get("user_id")))
    is_user: Read = lambda: session.get("user_id") is not None  # noqa: E731
    view = cache_result(vary=[is_user, lambda: request.args.get("page")])(
        lambda: f"{session.get('name')}"
    )
    app.add_url_rule("/", "home", view)
    alice = client_with(app, user_id="1", name="alice")
    bob = client_with(app, user_id="2", name="bob")
    texts = [client.get("/?page=1").text for client in (alice, bob, alice)]
    assert texts == ["alice", "bob", "alice"]


def test_an_id_that_is_shown_unloaded_is_its_visitors(kit: RedisKit) -> None:
    app = kit.state().app
    app.before_request(lambda: setattr(g, "sid", getattr(session, "sid")))  # noqa: B009
    view = cache_result(vary=[lambda: request.args.get("page")])(lambda: str(g.sid))
    app.add_url_rule("/", "home", view)
    texts = [text for text, _ in pages(app, *(client_with(app, name="x") for _ in range(2)))]
    assert texts[:2] == texts[2:]
    assert texts[0] != texts[1]


def test_the_session_itself_is_no_language(kit: RedisKit) -> None:
    app = kit.state().app
    view = cache_result(vary=[lambda: bool(session)])(lambda: str(getattr(session, "sid")))  # noqa: B009
    app.add_url_rule("/", "home", view)
    texts = [text for text, _ in pages(app, *(client_with(app, name="x") for _ in range(2)))]
    assert texts[:2] == texts[2:]
    assert texts[0] != texts[1]


def test_whether_somebody_is_logged_in_does_not_say_who_it_is(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.state().app

    @app.get("/")
    @cache_result(vary=[lambda: session.get("user_id") is not None])
    def home() -> str:
        return f"Hello {session.get('name')}"

    alice = client_with(app, user_id="7", name="alice")
    bob = client_with(app, user_id="8", name="bob")
    assert pages(app, alice, bob) == [("Hello alice", False), ("Hello bob", False)] * 2
    assert "('name')" in caplog.text


def test_the_basket_of_a_visitor_is_not_everybodys(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    """No user: he has a session all the same."""
    app = kit.state().app

    @app.get("/")
    @cache_result(vary=[lambda: session.get("user_id")])
    def home() -> str:
        return f"Basket: {session.get('basket')}"

    one, other = client_with(app, basket="tea"), client_with(app, basket="milk")
    nobody = app.test_client()
    found = pages(app, nobody, one, other)
    assert [text for text, _ in found] == ["Basket: None", "Basket: tea", "Basket: milk"] * 2
    assert not caplog.messages


def test_public_says_that_the_rest_follows(kit: RedisKit, caplog: pytest.LogCaptureFixture) -> None:
    app = kit.state().app

    @app.get("/")
    @cache_result(public=True, vary=[lambda: session.get("account")])
    def home() -> str:
        return f"Hello {session.get('name')}"

    alice = client_with(app, account="a", name="alice")
    bob = client_with(app, account="b", name="bob")
    assert [text for text, _ in pages(app, alice, bob)] == ["Hello alice", "Hello bob"] * 2
    assert was_hit(alice.get("/"))
    assert not caplog.messages


def test_the_applications_own_identity_keys_count(make_kit: MakeKit, redis_url: str) -> None:
    kit = make_kit(redis_url, features=("cache", "sessions"), SESSION_IDENTITY_KEYS=("account",))
    app = kit.state().app
    app.session_interface = RedisSessionInterface(kit)
    app.add_url_rule("/with", "with", lambda: session.update(account="a", name="alice") or "")
    view = cache_result(vary=[lambda: session.get("account")])(lambda: str(session.get("name")))
    app.add_url_rule("/", "home", view)
    client = app.test_client()
    client.get("/with")
    assert [was_hit(client.get("/")) for _ in range(2)] == [False, True]


def test_what_a_hook_reads_behind_the_view_is_not_in_the_page(kit: RedisKit) -> None:
    app = kit.state().app

    @app.after_request
    def log(response: Response) -> Response:
        response.headers["X-Name"] = str(session.get("name"))
        return response

    view = cache_result(vary=[lambda: session.get("lang")])(lambda: f"{session.get('lang')}")
    app.add_url_rule("/", "home", view)
    alice, bob = (client_with(app, lang="de", name=name) for name in ("alice", "bob"))
    for client, name in ((alice, "alice"), (bob, "bob")):
        response = client.get("/")
        assert (response.text, response.headers["X-Name"]) == ("de", name)
    assert was_hit(response)


def test_messages_are_shown_to_their_visitor(kit: RedisKit) -> None:
    app = kit.state().app

    @app.get("/flash")
    def say() -> str:
        flash("for alice")
        return ""

    view = cache_result(vary=[lambda: session.get("lang")])(lambda: str(get_flashed_messages()))
    app.add_url_rule("/", "home", view)
    alice, bob = (client_with(app, lang="de") for _ in range(2))
    alice.get("/flash")
    assert [client.get("/").text for client in (alice, bob, alice)] == ["['for alice']", "[]", "[]"]


def test_a_cached_function_follows_the_same_rule(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.state().app

    @cache_result(vary=[lambda: session.get("lang")])
    def greeting() -> str:
        return f"{session.get('lang')}: {session.get('name')}"

    @cache_result(vary=[lambda: session.get("user_id")])
    def account() -> str:
        return f"account of {session.get('name')}"

    app.add_url_rule("/", "home", lambda: f"{greeting()}, {account()}")
    alice = client_with(app, lang="de", user_id="7", name="alice")
    bob = client_with(app, lang="de", user_id="8", name="bob")
    for _ in range(2):
        assert alice.get("/").text == "de: alice, account of alice"
        assert bob.get("/").text == "de: bob, account of bob"
    assert sum("greeting: its result is not cached" in text for text in caplog.messages) == 1
    assert len(caplog.messages) == 1


def test_a_page_made_of_a_cached_function_reads_what_that_varies_by(kit: RedisKit) -> None:
    app = kit.state().app

    @cache_result(vary=[lambda: session.get("name")])
    def greeting() -> str:
        return f"Hello {session.get('name')}"

    view = cache_result(vary=[lambda: session.get("lang")])(lambda: greeting())
    app.add_url_rule("/", "home", view)
    alice, bob = (client_with(app, lang="de", name=name) for name in ("alice", "bob"))
    texts = [text for text, _ in pages(app, alice, bob)]
    assert texts == ["Hello alice", "Hello bob"] * 2


def test_with_flask_login_a_language_is_no_user(kit: RedisKit) -> None:
    app = kit.state().app
    flask_login.LoginManager(app).user_loader(User)
    app.add_url_rule("/login/<who>", "login", lambda who: str(flask_login.login_user(User(who))))

    @app.get("/")
    @cache_result(vary=[lambda: session.get("lang")])
    def home() -> str:
        return f"Hello {flask_login.current_user.get_id()}"

    clients = []
    for name in ("alice", "bob"):
        clients.append(client_with(app, lang="de"))
        clients[-1].get(f"/login/{name}")
    assert [text for text, _ in pages(app, *clients)] == ["Hello alice", "Hello bob"] * 2


class User(flask_login.UserMixin):  # type: ignore[misc]  # it has no types
    def __init__(self, name: str) -> None:
        self.id = name


KEYS = ("user_id", "lang", "name", "basket")
Contents = dict[str, str]


@given(
    varied=st.sets(st.sampled_from(KEYS), min_size=1),
    shown=st.lists(st.sampled_from(KEYS), max_size=3),
    before=st.lists(st.sampled_from(KEYS), max_size=2),
    visitors=st.lists(
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["1", "2"])), min_size=2, max_size=4
    ),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nobody_ever_gets_what_is_not_in_his_own_session(
    make_kit: MakeKit,
    redis_url: str,
    varied: set[str],
    shown: list[str],
    before: list[str],
    visitors: list[Contents],
) -> None:
    """Except what belongs to the same user in another of his sessions."""
    kit = make_kit(redis_url, features=("cache", "sessions"))
    app = kit.state().app
    app.session_interface = RedisSessionInterface(kit)
    kit.cache.clear()
    app.before_request(lambda: setattr(g, "loaded", [session.get(key) for key in before]))
    factors: list[Any] = [lambda key=key: session.get(key) for key in sorted(varied)]

    @app.get("/")
    @cache_result(vary=factors)
    def home() -> list[Any]:
        return [*g.loaded, *(session.get(key) for key in shown)]

    @app.post("/")
    def put() -> str:
        session.update(visitors[len(clients)])
        return ""

    clients: list[FlaskClient] = []
    for _ in visitors:
        client = app.test_client()
        client.post("/")
        clients.append(client)
    for _ in range(2):
        for contents, client in zip(visitors, clients, strict=True):
            got = client.get("/").json
            own = [contents, *(c for c in visitors if is_same_user(c, contents, varied))]
            assert got in [[each.get(key) for key in (*before, *shown)] for each in own]


def is_same_user(one: Contents, other: Contents, varied: set[str]) -> bool:
    user = one.get("user_id")
    return "user_id" in varied and user is not None and user == other.get("user_id")
