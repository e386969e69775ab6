"""Any sequence of requests, some in the middle of others, against a model of dictionaries."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from flask import request, session
from hypothesis import HealthCheck, example, given, settings

from flask_redis_kit.sessions import RedisSession
from flask_redis_kit.sessions.ids import digest_of
from tests.sessions.conftest import MakeShop
from tests.sessions.shop import Shop, set_cookies, sid_of

Op = tuple[Any, ...]
Result = tuple[str, dict[str, Any]]
KEYS = st.sampled_from(["a", "b", "user_id"])
SIMPLE = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(1, 3)),
    st.tuples(st.just("pop"), KEYS),
    st.tuples(st.just("append"), st.integers(1, 3)),
    st.tuples(st.just("clear")),
    st.tuples(st.just("regenerate")),
    st.tuples(st.just("read")),
)
OTHER = st.tuples(st.just("other"), st.lists(SIMPLE, min_size=1, max_size=3))
REQUESTS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.one_of(SIMPLE, OTHER, SIMPLE), max_size=4)),
    min_size=1,
    max_size=4,
)


@dataclass
class Model:
    """What must lie under which id, and which ids were rotated away a moment ago."""

    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    rotated: set[str] = field(default_factory=set)

    def request(self, sid: str, ops: list[Op], inner: list[Result]) -> Result:
        """What becomes of the cookie ("set", "delete" or "keep"), and of a session it is set to.

        ``inner`` gets the same of the requests inside it.
        """
        seen = Seen(self, sid)
        for op in ops:
            if op[0] == "other":
                inner.append(self.request(sid, op[1], inner))
            else:
                seen.apply(op)
        return self.end(seen)

    def end(self, seen: Seen) -> Result:
        """The end of a request."""
        view, base, sid = seen.view, seen.base, seen.sid
        if seen.ended:
            if seen.origin:
                self.destroy(sid)
            return ("set", view) if view else ("delete", {})
        if not seen.loaded:
            return "keep", {}
        if base is None:
            silent = seen.was_rotated and "user_id" not in view
            return ("set", view) if view and not silent else ("keep", {})
        changed = {key: value for key, value in view.items() if base.get(key) != value}
        removed = base.keys() - view.keys()
        identity = base.get("user_id") != view.get("user_id")
        alive = self.stored.get(sid)
        if removed and not view and (identity or seen.turned):
            self.destroy(sid)
            return "delete", {}
        if not (removed and not view) and (seen.turned or identity):
            self.destroy(sid)
            self.rotated.add(sid)
            lives = alive is not None or (identity and "user_id" in view)
            return ("set", view) if lives else ("keep", {})
        if alive is None:
            return "keep", {}
        alive.update(changed)
        for key in removed:
            alive.pop(key, None)
        if removed and not view and not alive:
            self.destroy(sid)
            return "delete", {}
        return "keep", {}

    def destroy(self, sid: str) -> None:
        """It ends, for another reason than a rotation."""
        self.stored.pop(sid, None)
        self.rotated.discard(sid)


class Seen:
    """One request's view of its session."""

    def __init__(self, model: Model, sid: str) -> None:
        self.model, self.sid = model, sid
        self.view: dict[str, Any] = {}
        self.base: dict[str, Any] | None = None
        self.loaded = self.ended = self.turned = self.was_rotated = False
        self.origin = bool(sid)

    def load(self) -> None:
        """At the first use."""
        if not self.loaded:
            self.loaded = True
            self.base = copy.deepcopy(self.model.stored.get(self.sid))
            self.was_rotated = self.sid in self.model.rotated
            self.view = copy.deepcopy(self.base or {})

    def apply(self, op: Op) -> None:
        """One use."""
        if op[0] == "clear":
            if self.loaded and self.base is None and not self.ended:
                self.origin = False
            self.loaded = self.ended = True
            self.turned = False
            self.view, self.base = {}, None
            return
        self.load()
        if op[0] == "set":
            self.view[op[1]] = op[2]
        elif op[0] == "pop":
            self.view.pop(op[1], None)
        elif op[0] == "append":
            self.view.setdefault("list", []).append(op[1])
        elif op[0] == "regenerate":
            self.turned = self.turned or (self.base is not None and not self.ended)


def add_views(shop: Shop, others: list[tuple[str, str]]) -> None:
    """``/do``: what the model does, for real. ``others`` gets what came of requests inside it."""

    @shop.app.post("/do")
    def do() -> str:
        sid = request.cookies.get("session", "")
        for op in request.json or []:
            if op[0] == "other":
                others.append(ask(shop, sid, op[1]))
            else:
                act(op)
        return ""


def act(op: Op) -> None:
    """One use of ``flask.session``."""
    if op[0] == "set":
        session[op[1]] = op[2]
    elif op[0] == "pop":
        session.pop(op[1], None)
    elif op[0] == "append":
        session.setdefault("list", []).append(op[1])
    elif op[0] == "clear":
        session.clear()
    elif op[0] == "read":
        session.get("a")
    else:
        found = session._get_current_object()  # type: ignore[attr-defined]  # a proxy
        assert isinstance(found, RedisSession)
        found.regenerate()


def ask(shop: Shop, sid: str, ops: list[Op]) -> tuple[str, str]:
    """Make a request; what it did to the cookie, and the id it set."""
    visitor = shop.visitor(sid or None)
    response = visitor.post("/do", json=ops)
    assert response.status_code == 200
    if not set_cookies(response):
        return "keep", ""
    return ("set", sid_of(visitor)) if sid_of(visitor) else ("delete", "")


def run(shop: Shop, others: list[tuple[str, str]], requests: list[tuple[int, list[Op]]]) -> None:
    """All requests of a case: three browsers, each with the cookie that it was given last.

    Two begin with the same session, so that one may come with an id that the other has lost.
    """
    sid = shop.session_of(a=1)
    model = Model({sid: {"a": 1}})
    cookies = [sid, sid, ""]
    for browser, ops in requests:
        sid = cookies[browser]
        others.clear()
        cookie, new = ask(shop, sid, ops)
        expected: list[Result] = []
        wanted, fields = model.request(sid, ops, expected)
        if wanted == "delete" and not sid:
            wanted = "keep"  # there is none to delete
        assert (cookie, [each[0] for each in others]) == (
            wanted,
            [name if sid or name != "delete" else "keep" for name, _ in expected],
        )
        for (name, given_id), (_, held) in zip(others, expected, strict=True):
            if name == "set":
                model.stored[given_id] = held
        if cookie == "set":
            model.stored[new] = fields
        if cookie != "keep":
            cookies[browser] = new
        for known in {*model.stored, *filter(None, cookies)}:
            assert shop.read(known) == model.stored.get(known, {})
    with shop.app.app_context():
        for user in (1, 2, 3):
            listed = {device.handle for device in shop.kit.sessions.list(user)}
            theirs = [k for k, v in model.stored.items() if v.get("user_id") == user]
            assert listed == set(map(digest_of, theirs))
            assert shop.kit.sessions.revoke_user(user) == len(theirs)


def test_any_sequence_of_requests_does_what_the_model_does(
    make_shop: MakeShop, redis_url: str
) -> None:
    others: list[tuple[str, str]] = []
    shop = make_shop(redis_url)
    add_views(shop, others)

    @settings(
        max_examples=200,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
    )
    @given(REQUESTS)
    @example([(0, [("read",), ("other", [("clear",)]), ("regenerate",)])])
    @example([(0, [("regenerate",)]), (1, [("set", "b", 1)]), (1, [("set", "user_id", 1)])])
    @example([(0, [("read",), ("other", [("set", "b", 2)]), ("pop", "a")])])
    @example([(0, [("read",), ("other", [("set", "user_id", 1)]), ("set", "user_id", 2)])])
    def check(requests: list[tuple[int, list[Op]]]) -> None:
        run(shop, others, requests)

    checked: Callable[[], None] = check
    checked()
