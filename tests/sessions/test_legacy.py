"""Sessions that the real Flask-Session has written: read as they are, never as pickles."""

from __future__ import annotations

import pickle
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis
from flask import Flask, session
from flask_session import Session
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_kit import ConfigError, RedisKit
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.sessions.ids import is_id
from flask_redis_kit.sessions.legacy import LegacyStore, Unreadable
from flask_redis_kit.sessions.signer import IdSigner
from tests.harness.topologies import client_of

FIELDS = {"_user_id": "42", "cart": [1, {"n": 2.5}], "seen": True, "name": "Zoë", "none": None}


@pytest.fixture
def wire(redis_url: str) -> Iterator[Wire]:
    app = Flask("moving")
    app.config["REDIS_URL"] = redis_url
    kit = RedisKit(app, features=("sessions",))
    yield kit.sessions.context().wire
    with app.app_context():
        kit.close()


def written_by_flask_session(url: str, **config: object) -> str:
    """The cookie of a session that the real Flask-Session has stored."""
    app = Flask("peer")
    app.secret_key = "secret"
    client = client_of(url)
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client, **config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the signer
        Session(app)

    @app.get("/")
    def write() -> str:
        session.update(FIELDS)
        return ""

    browser = app.test_client()
    browser.get("/")
    cookie = browser.get_cookie("session")
    assert cookie is not None
    client.close()
    return str(cookie.value)


@pytest.mark.standalone("Flask-Session takes no client of a Cluster")
@pytest.mark.parametrize("form", ["msgpack", "json"])
@pytest.mark.parametrize("read_as", ["msgpack", "json"])
def test_what_flask_session_wrote_is_read(
    wire: Wire, redis_url: str, form: str, read_as: Any
) -> None:
    sid = written_by_flask_session(redis_url, SESSION_SERIALIZATION_FORMAT=form)
    assert is_id(sid)
    found = wire.send(LegacyStore("session:", read_as).load(sid))
    assert found is not None
    assert found.fields == {"_permanent": True, **FIELDS}
    assert found.seconds is not None
    assert 0 < found.seconds <= 31 * 86400


@pytest.mark.standalone("Flask-Session takes no client of a Cluster")
def test_what_flask_session_signed_is_accepted_also_with_an_older_key(redis_url: str) -> None:
    cookie = written_by_flask_session(redis_url, SESSION_USE_SIGNER=True)
    sid = cookie.partition(".")[0]
    assert IdSigner("secret", []).unsigned(cookie) == sid
    assert IdSigner("new", ["older", "secret"]).unsigned(cookie) == sid
    assert IdSigner("secret", []).signed(sid) == cookie
    assert IdSigner("new", ["secret"]).signed(sid) != cookie


@pytest.mark.parametrize("cookie", ["", "x", "a.b", "ü.ü", "sid.", ".sig", "a" * 100_000])
def test_a_cookie_that_nobody_signed_is_no_id(cookie: str) -> None:
    assert IdSigner("secret", []).unsigned(cookie) == ""


def test_a_signer_needs_a_key() -> None:
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        IdSigner(None, [])


@pytest.mark.parametrize("sid", ["a" * 22, "A-_9" * 21, str(uuid.UUID(int=7))])
def test_ids_of_other_lengths_are_accepted(sid: str) -> None:
    assert is_id(sid)


@pytest.mark.parametrize("sid", ["", "a" * 21, "a" * 129, "a:b" * 10, "a" * 22 + "\n", "ä" * 30])
def test_what_can_be_no_id_is_refused(sid: str) -> None:
    assert not is_id(sid)


def test_what_is_no_session_is_unreadable(wire: Wire, redis_client: redis.Redis) -> None:
    store = LegacyStore("session:", "msgpack")
    sid = "s" * 43
    assert wire.send(store.load(sid)) is None
    for stored in (
        pickle.dumps({"user": "admin"}),
        b"\xff\xff",
        msgspec.msgpack.encode([1]),
        b"[1]",
        b"[" * 100_000,
    ):
        redis_client.set(store.key(sid), stored, ex=60)
        with pytest.raises(Unreadable):
            wire.send(store.load(sid))
    redis_client.delete(store.key(sid))
    redis_client.sadd(store.key(sid), "x")
    with pytest.raises(Unreadable, match="WRONGTYPE"):
        wire.send(store.load(sid))


def test_a_retired_session_ends_soon_and_never_later_than_before(
    wire: Wire, redis_client: redis.Redis
) -> None:
    store = LegacyStore("session:", "msgpack")
    for sid, lasts, expected in (("a" * 43, 1000, 600), ("b" * 43, 100, 100), ("c" * 43, 0, 600)):
        redis_client.set(store.key(sid), b"\x80", ex=lasts or None)
        assert wire.send(store.retire(sid, 600)) is (expected == 600)
        assert wire.send(store.retire(sid, 600)) is False
        assert expected - 30 <= redis_client.ttl(store.key(sid)) <= expected
        assert wire.send(store.remove(sid)) is True
        assert wire.send(store.remove(sid)) is False


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(stored: bytes) -> None:
    for store in (LegacyStore("session:", "msgpack"), LegacyStore("session:", "json")):
        try:
            found = store.decoded(stored)
        except Unreadable:
            continue
        assert isinstance(found, dict)
