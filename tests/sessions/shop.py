"""A small application whose views do one thing each with their session."""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple

import redis
from flask import Flask, flash, get_flashed_messages, render_template_string, session
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_redis_kit import RedisKit
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.sessions.ids import digest_of


class Shop(NamedTuple):
    """An application and its kit."""

    app: Flask
    kit: RedisKit

    def visitor(self, sid: str | None = None) -> FlaskClient:
        """A browser, with this cookie if one is given."""
        client = self.app.test_client()
        if sid is not None:
            client.set_cookie("session", sid)
        return client

    def session_of(self, **fields: object) -> str:
        """The id of a new session with these fields."""
        client = self.app.test_client()
        with client.session_transaction() as stored:
            stored.update(fields)
        return sid_of(client)

    def read(self, sid: str) -> dict[str, Any]:
        """What a browser with this cookie finds in its session."""
        with self.visitor(sid).session_transaction() as found:
            return dict(found)

    def key(self, sid: str) -> str:
        """Where the session lies."""
        return f"frk:{{{self.app.name}:{digest_of(sid)}}}:session:h"


def last_used(client: redis.Redis, key: str, seconds: int) -> None:
    """Have the session at a key been used at this moment, in seconds since 1970."""
    owner = client.hget(key, "\0u")
    assert isinstance(owner, bytes)
    client.hset(key, "\0u", b"%d:%b" % (seconds, owner.partition(b":")[2]))


def sid_of(client: FlaskClient) -> str:
    """The cookie in a browser; empty if it has none."""
    cookie = client.get_cookie("session")
    return "" if cookie is None else cookie.value


def set_cookies(response: TestResponse) -> list[str]:
    """The Set-Cookie headers, without the values that differ in each run."""
    headers = response.headers.getlist("Set-Cookie")
    return [re.sub(r"Expires=[^;]*(20[2-9]\d)[^;]*", "Expires=later", h) for h in headers]


def add_views(app: Flask, kit: RedisKit) -> None:
    """Add the views."""
    add_simple_views(app)
    add_counting_views(app, kit)
    add_views_of_other_features(app, kit)


def add_simple_views(app: Flask) -> None:
    """Views that use their session."""

    @app.get("/untouched")
    def untouched() -> str:
        return "hello"

    @app.get("/get/<key>")
    def get(key: str) -> str:
        return str(session.get(key))

    @app.get("/set/<key>/<value>")
    def set_(key: str, value: str) -> str:
        session[key] = value
        return value

    @app.get("/pop/<key>")
    def pop(key: str) -> str:
        return str(session.pop(key, None))

    @app.get("/append/<value>")
    def append(value: str) -> str:
        session["cart"]["items"].append(value)
        return "added"

    @app.get("/login/<user>")
    def login(user: str) -> str:
        session["user_id"] = user
        return "in"

    @app.get("/anew/<user>")
    def anew(user: str) -> str:
        session.clear()
        session["user_id"] = user
        return "in"

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "out"

    @app.get("/read-and-clear")
    def read_and_clear() -> str:
        session.get("a")
        session.clear()
        return "out"

    @app.get("/regenerate")
    def regenerate() -> str:
        session.regenerate()  # type: ignore[attr-defined]  # a RedisSession
        return session.sid  # type: ignore[attr-defined,no-any-return]

    @app.get("/permanent")
    def permanent() -> str:
        session.permanent = True
        return "stays"

    @app.get("/modified")
    def modified() -> str:
        session.modified = True
        return "again"

    @app.get("/page")
    def page() -> str:
        return render_template_string("<p>{{ request.path }}</p>")

    @app.get("/flash/<message>")
    def flash_(message: str) -> str:
        flash(message, "info")
        return "noted"

    @app.get("/flashed")
    def flashed() -> str:
        return repr(get_flashed_messages(with_categories=True))


def add_counting_views(app: Flask, kit: RedisKit) -> None:
    """``/count/<how>``: one more, in a session that the request has for itself."""

    def more() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    @app.get("/count/view")
    @kit.sessions.exclusive(wait=60)
    def count_in_view() -> str:
        return more()

    @app.get("/count/block")
    def count_in_block() -> str:
        with kit.sessions.exclusive(wait=60):
            return more()

    @app.get("/count/async-view")
    @kit.sessions.exclusive(wait=60)
    async def count_in_async_view() -> str:
        await asyncio.sleep(0)
        return more()

    @app.get("/count/async-block")
    async def count_in_async_block() -> str:
        async with kit.sessions.exclusive(wait=60):
            await asyncio.sleep(0)
            return more()


def add_views_of_other_features(app: Flask, kit: RedisKit) -> None:
    """Views that ask the server for something besides their session."""

    @app.get("/look-up/<read>")
    def look_up(read: str) -> str:
        kit.sessions.context().send(Exchange("other", "x", [("GET", "x")], first, read_only=True))
        return str(session["a"]) if read == "read" else "nothing"

    @app.get("/defer/<value>")
    def defer(value: str) -> str:
        kit.sessions.context().defer(Exchange("other", "x", [("SET", "x", value)], first))
        if value != "alone":
            session["a"] = value
        return ""
