"""Who read the session: told exactly, also where reads before and beside it are many."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flask import Flask, session

from flask_redis_kit.core import session_watch
from flask_redis_kit.core.session_watch import SessionWatch, session_accessed, session_modified


@pytest.fixture
def app() -> Flask:
    app = Flask("watched")
    app.secret_key = "test"
    return app


def test_a_watch_sees_what_happens_in_its_time_only(app: Flask) -> None:
    with app.test_request_context():
        session.get("before")
        quiet = SessionWatch()
        assert session_accessed()
        assert quiet.end() is False
        assert session_accessed()
        reading = SessionWatch()
        session.get("within")
        assert reading.end() is True


def test_overlapping_watches_don_t_take_each_others_evidence(app: Flask) -> None:
    with app.test_request_context():
        first = SessionWatch()
        session.get("seen by the first")
        second = SessionWatch()
        assert second.end() is False
        third = SessionWatch()
        session.get("seen by both")
        assert first.end() is True
        assert third.end() is True


def test_a_watch_that_outlives_the_view_hides_no_access_from_the_answer(app: Flask) -> None:
    running: list[SessionWatch] = []

    @app.get("/")
    def view() -> str:
        session.get("x")
        running.append(SessionWatch())  # as in a thread that goes on computing
        return "private"

    from flask_redis_kit import RedisKit

    RedisKit(app)
    assert app.test_client().get("/").headers["Vary"] == "Cookie"


def test_outside_a_request_nothing_was_read(app: Flask) -> None:
    watch = SessionWatch()
    assert watch.end() is False
    with app.app_context():
        assert SessionWatch().end() is False


@pytest.mark.parametrize("tracks_access", [True, False])
def test_to_look_whether_it_was_read_is_no_reading_where_flask_does_not_tell(
    tracks_access: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Session(dict[str, str]):
        accessed = False

        def __len__(self) -> int:
            self.accessed = True  # one of ours would be loaded as well
            return super().__len__()

    before_flask_3_1_3 = SimpleNamespace(request=SimpleNamespace(), session=Session(name="alice"))
    if tracks_access:
        Session.tracks_access = True  # type: ignore[attr-defined]
    monkeypatch.setattr(session_watch, "current_context", lambda: before_flask_3_1_3)
    assert session_accessed() is not tracks_access, "one that can't tell counts as read"
    assert before_flask_3_1_3.session.accessed is not tracks_access


def test_whether_the_session_was_written_is_told_without_reading_it(app: Flask) -> None:
    assert session_modified() is False  # there is no request
    with app.test_request_context():
        assert session_modified() is False
        assert session_accessed() is False
        session.get("read")
        assert session_modified() is False
        session["written"] = True
        assert session_modified() is True
