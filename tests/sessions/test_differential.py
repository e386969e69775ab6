"""The same scenes on Flask-Session's own interface and on ours: equal, unless we mean it.

Each scene is played by both. Where the kit differs on purpose, ``ON_PURPOSE`` says what each of
them does; ``docs/flask_session.md`` tells the same to its readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, get_flashed_messages, session
from flask.sessions import SessionMixin
from markupsafe import Markup
from werkzeug.test import TestResponse

from tests.sessions.peer import cookie_of, new_worker
from tests.sessions.shop import Shop, set_cookies

BACKENDS = ("flask-session", "redis")
PAGE = Path(__file__).parents[2] / "docs" / "flask_session.md"


class Stage:
    """One application, its server, and one browser."""

    def __init__(self, shop: Shop, client: redis.Redis) -> None:
        self.app, self.shop, self.redis = shop.app, shop, client
        self.browser = shop.visitor()

    @property
    def cookie(self) -> str:
        return cookie_of(self.browser)

    def get(self, path: str) -> TestResponse:
        return self.browser.get(path)

    def text(self, path: str) -> str:
        return self.get(path).text

    def keep(self, cookie: str) -> None:
        """The browser gets a cookie that it had before."""
        self.browser.set_cookie("session", cookie)

    def key(self, sid: str) -> str:
        """Where the session with this id lies."""
        if self.app.config["SESSION_BACKEND"] == "redis":
            return self.shop.key(sid)
        return f"session:{sid}"


def add_views(app: Flask) -> None:
    @app.get("/meanwhile/<path:other>/then-set/<key>")
    def meanwhile(other: str, key: str) -> str:
        session.get("anything")
        app.test_client().get(f"/{other}")  # without the cookie: a stranger's request
        app.extensions["meanwhile"](f"/{other}")
        session[key] = "slow"
        return "late"

    @app.get("/store/<kind>")
    def store(kind: str) -> str:
        session["value"] = {
            "tuple": (1, 2),
            "datetime": datetime(2026, 1, 2),
            "markup": Markup("<b>"),
            "bytes": b"\xff",
            "big": 2**70,
        }[kind]
        return kind

    @app.get("/kind")
    def kind() -> str:
        return type(session["value"]).__name__

    @app.get("/flashed-twice")
    def flashed_twice() -> str:
        return repr([get_flashed_messages(), get_flashed_messages()])


@pytest.fixture
def stages(redis_url: str, redis_client: redis.Redis) -> Iterator[dict[str, Stage]]:
    made: dict[str, Stage] = {}
    for backend in BACKENDS:
        shop = new_worker(redis_url, SESSION_BACKEND=backend)
        shop.app.config["SESSION_BACKEND"] = backend
        shop.app.config["PROPAGATE_EXCEPTIONS"] = False
        add_views(shop.app)
        made[backend] = Stage(shop, redis_client)
    yield made
    for stage in made.values():
        with stage.app.app_context():
            stage.shop.kit.close()


def headers(response: TestResponse) -> tuple[str, str]:
    """What becomes of the cookie, and Vary."""
    cookies = set_cookies(response)
    sent = "nothing"
    if cookies:
        sent = "deleted" if "Max-Age=0" in cookies[0] else "sent"
    return sent, response.headers.get("Vary", "")


# scenes


def read_back(stage: Stage) -> Any:
    stage.get("/set/a/1")
    return [stage.text(path) for path in ("/get/a", "/get/b", "/pop/a", "/get/a")]


def nothing_stored_for_a_stranger(stage: Stage) -> Any:
    return headers(stage.get("/untouched")), headers(stage.get("/get/a")), stage.cookie


def a_first_write(stage: Stage) -> Any:
    return headers(stage.get("/set/a/1"))


def an_untouched_request(stage: Stage) -> Any:
    stage.get("/set/a/1")
    return headers(stage.get("/untouched"))


def a_read(stage: Stage) -> Any:
    stage.get("/set/a/1")
    return headers(stage.get("/get/a"))


def a_write(stage: Stage) -> Any:
    stage.get("/set/a/1")
    return headers(stage.get("/set/a/2"))


def the_last_key_removed(stage: Stage) -> Any:
    stage.get("/set/a/1")
    return headers(stage.get("/pop/a")), stage.cookie


def a_logout(stage: Stage) -> Any:
    stage.get("/set/a/1")
    cookie = stage.cookie
    answer = headers(stage.get("/clear"))
    stage.keep(cookie)
    return answer, stage.text("/get/a")


def an_unknown_id(stage: Stage) -> Any:
    stage.keep("x" * 43)
    text = stage.text("/get/a")
    stage.get("/set/a/1")
    return text, stage.cookie == "x" * 43


def a_nested_change(stage: Stage) -> Any:
    with stage.browser.session_transaction() as found:
        found["cart"] = {"items": ["book"]}
    stage.get("/append/pen")
    return stage.text("/get/cart")


def a_flashed_message(stage: Stage) -> Any:
    stage.get("/flash/hello")
    return stage.text("/flashed-twice"), stage.text("/flashed-twice")


def a_transaction_of_a_test(stage: Stage) -> Any:
    with stage.browser.session_transaction() as found:
        found["a"] = "1"
        kind = isinstance(found, SessionMixin), found.get("b", "none")
    return kind, stage.text("/get/a")


def a_login(stage: Stage) -> Any:
    stage.get("/set/a/1")
    before = stage.cookie
    stage.get("/login/7")
    return stage.cookie != before, stage.text("/get/a"), stage.text("/get/user_id")


def a_login_after_clear(stage: Stage) -> Any:
    stage.get("/set/a/1")
    before = stage.cookie
    stage.get("/anew/7")
    return stage.cookie != before, stage.text("/get/a"), stage.text("/get/user_id")


def simultaneous_writes(stage: Stage) -> Any:
    stage.get("/set/a/1")
    stage.app.extensions["meanwhile"] = lambda path: stage.shop.visitor(stage.cookie).get(path)
    stage.get("/meanwhile/set/b/2/then-set/c")
    return [stage.text(f"/get/{key}") for key in "abc"]


def a_slow_request_and_a_logout(stage: Stage) -> Any:
    stage.get("/login/7")
    cookie = stage.cookie
    stage.app.extensions["meanwhile"] = lambda path: stage.shop.visitor(cookie).get(path)
    stage.get("/meanwhile/clear/then-set/c")
    stage.keep(cookie)
    return stage.text("/get/user_id")


def _kind(kind: str) -> Callable[[Stage], Any]:
    def scene(stage: Stage) -> Any:
        stored = stage.get(f"/store/{kind}").status_code
        return stored, stage.text("/kind") if stored == 200 else ""

    return scene


def a_value_of_another_program(stage: Stage) -> Any:
    stage.get("/set/a/1")
    key = stage.key(stage.cookie)
    stage.redis.delete(key)
    stage.redis.sadd(key, "x")
    try:
        return stage.get("/get/a").status_code
    finally:
        stage.redis.delete(key)


def damaged_bytes(stage: Stage) -> Any:
    stage.get("/set/a/1")
    key = stage.key(stage.cookie)
    if stage.redis.type(key) == b"hash":
        stage.redis.hset(key, "a", b"\xff\xff")
    else:
        stage.redis.set(key, b"\xff\xff", ex=60)
    return stage.get("/get/a").status_code


def a_pickle(stage: Stage) -> Any:
    stage.keep("p" * 43)
    # {"a": "admin"}, as pickle writes it
    stage.redis.set("session:" + "p" * 43, b"\x80\x04}\x8c\x01a\x8c\x05admins.", ex=60)
    return stage.text("/get/a")


def the_id_in_the_server(stage: Stage) -> Any:
    stage.get("/set/a/1")
    cookie = stage.cookie.encode()
    return any(cookie in key for key in stage.redis.scan_iter())


SCENES: list[tuple[str, Callable[[Stage], Any]]] = [
    ("read back", read_back),
    ("nothing stored for a stranger", nothing_stored_for_a_stranger),
    ("a first write", a_first_write),
    ("a write", a_write),
    ("the last key removed", the_last_key_removed),
    ("a logout", a_logout),
    ("an unknown id", an_unknown_id),
    ("a nested change", a_nested_change),
    ("a flashed message", a_flashed_message),
    ("a transaction of a test", a_transaction_of_a_test),
    ("bytes", _kind("bytes")),
    ("an untouched request", an_untouched_request),
    ("a read", a_read),
    ("a login", a_login),
    ("a login after clear()", a_login_after_clear),
    ("simultaneous writes", simultaneous_writes),
    ("a slow request and a logout", a_slow_request_and_a_logout),
    ("a tuple", _kind("tuple")),
    ("a naive datetime", _kind("datetime")),
    ("Markup", _kind("markup")),
    ("a large integer", _kind("big")),
    ("a value of another program", a_value_of_another_program),
    ("damaged bytes", damaged_bytes),
    ("a pickle", a_pickle),
    ("the id in the server", the_id_in_the_server),
]

ON_PURPOSE: dict[str, tuple[Any, Any]] = {
    "an untouched request": (("sent", "Cookie"), ("nothing", "")),
    "a read": (("sent", "Cookie"), ("nothing", "Cookie")),
    "a login": ((False, "1", "7"), (True, "1", "7")),
    "a login after clear()": ((False, "None", "7"), (True, "None", "7")),
    "simultaneous writes": (["1", "None", "slow"], ["1", "2", "slow"]),
    "a slow request and a logout": ("7", "None"),
    "a tuple": ((200, "list"), (200, "tuple")),
    "a naive datetime": ((200, "str"), (200, "datetime")),
    "Markup": ((500, ""), (200, "Markup")),
    "a large integer": ((500, ""), (200, "int")),
    "a value of another program": (500, 200),
    "damaged bytes": (500, 200),
    "a pickle": ("admin", "None"),
    "the id in the server": (True, False),
}
"""Flask-Session's, and ours."""


@pytest.mark.parametrize(("name", "scene"), SCENES, ids=[name for name, _ in SCENES])
def test_both_do_the_same_unless_we_mean_it(
    stages: dict[str, Stage], name: str, scene: Callable[[Stage], Any]
) -> None:
    theirs, ours = (scene(stages[backend]) for backend in BACKENDS)
    if name in ON_PURPOSE:
        assert (theirs, ours) == ON_PURPOSE[name]
    else:
        assert ours == theirs


def test_the_page_tells_every_difference() -> None:
    text = PAGE.read_text()
    missing = [name for name in ON_PURPOSE if f"| {name} |" not in text]
    assert missing == []
    assert set(ON_PURPOSE) <= {name for name, _ in SCENES}
