"""Sessions through a failover of a Sentinel group: nobody is logged out, no logout is undone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask, session
from flask.testing import FlaskClient

from flask_redis_kit import RedisKit, RedisSessionInterface
from tests.harness.sentinels import SentinelGroup
from tests.waiting import wait_until


@pytest.fixture
def app(sentinels: SentinelGroup) -> Iterator[Flask]:
    app = Flask("shop")
    app.config.update(REDIS_URL=sentinels.url)
    kit = RedisKit(app, features=("sessions",))
    app.session_interface = RedisSessionInterface(kit)

    @app.get("/login/<user>")
    def login(user: str) -> str:
        session["user_id"] = user
        return "in"

    @app.get("/who")
    def who() -> str:
        return str(session.get("user_id"))

    @app.get("/count")
    @kit.sessions.exclusive()
    def count() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    @app.get("/logout")
    def logout() -> str:
        session.clear()
        return "out"

    yield app
    with app.app_context():
        kit.close()


def visitor(app: Flask, sid: str | None = None) -> FlaskClient:
    client = app.test_client()
    if sid is not None:
        client.set_cookie("session", sid)
    return client


def test_a_session_outlives_its_master(sentinels: SentinelGroup, app: Flask) -> None:
    member = visitor(app)
    assert member.get("/login/7").text == "in"
    leaver = visitor(app)
    leaver.get("/login/8")
    gone = leaver.get_cookie("session")
    assert leaver.get("/logout").text == "out"
    with sentinels.master().client() as master:
        assert master.wait(2, 30_000) == 2  # the logout has arrived at whoever is chosen
    old = sentinels.kill_master()
    statuses: list[int] = []

    def known_again() -> bool:
        response = member.get("/who")
        statuses.append(response.status_code)
        assert "Set-Cookie" not in response.headers  # an outage is no logout
        return response.status_code == 200 and response.text == "7"

    sentinels.wait_until_switched(old)
    wait_until(known_again, timeout=30, what="the member to be known again")
    assert set(statuses) <= {200, 503}
    assert member.get("/count").text == "1"
    assert member.get("/count").text == "2"
    assert gone is not None
    assert visitor(app, gone.value).get("/who").text == "None"
    old.revive()
