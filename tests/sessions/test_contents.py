"""What a session holds and what counts as a change, without a server."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from markupsafe import Markup

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.sessions.changes import Changes
from flask_redis_kit.sessions.contents import Contents
from flask_redis_kit.sessions.record import NOTHING, Loaded, StoredFields
from flask_redis_kit.sessions.session import RedisSession

codec = Codec()
NO_CHANGE = Changes({}, [])


def session_with(**fields: object) -> RedisSession:
    """A session for which a server holds these fields."""
    encoded = {key: codec.encode(value) for key, value in fields.items()}
    loaded = Loaded(encoded, b"incarnation", 100.0, False)
    return RedisSession(Contents(codec, "A" * 43, lambda: loaded))


def changes(session: RedisSession) -> dict[str, Any]:
    """The changed fields and their values; a removed one is ``...``."""
    found = session.contents.changes()
    values: dict[str, Any] = {k.decode(): codec.decode(v) for k, v in found.changed.items()}
    return values | dict.fromkeys([name.decode() for name in found.removed], ...)


def test_it_is_a_mapping() -> None:
    session = session_with(a=1, b=[2])
    assert session == {"a": 1, "b": [2]}
    assert list(session) == ["a", "b"]
    assert len(session) == 2
    assert "a" in session
    assert "c" not in session
    assert session.get("c", 3) == 3
    assert session.pop("a") == 1
    session.update(c=4)
    assert session.setdefault("d", 5) == 5
    assert {**session} == {"b": [2], "c": 4, "d": 5}
    with pytest.raises(KeyError):
        session["a"]
    with pytest.raises(KeyError):
        del session["a"]


def test_reading_is_no_change() -> None:
    session = session_with(a=1, b=[2], c={"d": {3}}, e=("f",), g=1.5, h=None)
    assert dict(session)
    assert session.contents.changes() == NO_CHANGE
    assert not session.modified


def test_assigning_an_equal_value_is_no_change() -> None:
    session = session_with(a=1, b=[1, 2])
    session["a"] = 1
    session["b"] = [1, 2]
    assert session.contents.changes() == NO_CHANGE
    assert session.modified


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, True), (1, 1.0), (0.0, -0.0), ([1], (1,)), ("a", Markup("a")), ({1}, frozenset({1}))],
)
def test_a_value_of_another_type_is_a_change(before: object, after: object) -> None:
    session = session_with(a=before)
    session["a"] = after
    assert type(changes(session)["a"]) is type(after)


def test_a_change_inside_a_value_is_found() -> None:
    session = session_with(cart={"items": ["pen"]}, other=[1])
    session["cart"]["items"].append("ink")
    assert changes(session) == {"cart": {"items": ["pen", "ink"]}}
    assert not session.modified


def test_a_change_inside_a_new_value_is_found() -> None:
    session = session_with(a=1)
    session.setdefault("cart", []).append("pen")
    assert changes(session) == {"cart": ["pen"]}


def test_a_removed_key_is_removed_and_others_are_left_alone() -> None:
    session = session_with(a=1, b=2)
    del session["a"]
    assert changes(session) == {"a": ...}
    session["a"] = 1
    assert session.contents.changes() == NO_CHANGE


def test_types_come_back_as_they_were() -> None:
    values: dict[str, Any] = {
        "tuple": (1, (2,)),
        "set": {1, 2},
        "markup": Markup("<b>"),
        "aware": dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
        "naive": dt.datetime(2026, 11, 21),  # on purpose
        "date": dt.date(2026, 11, 21),
        "span": dt.timedelta(seconds=3),
        "uuid": uuid.UUID(int=7),
        "decimal": Decimal("1.50"),
        "bytes": b"\0\xff",
        "big": 2**70,
        "int keys": {1: "a", (2, 3): "b"},
    }
    session = session_with(**values)
    for key, value in values.items():
        assert session[key] == value
        assert type(session[key]) is type(value)
    assert session.contents.changes() == NO_CHANGE


@pytest.mark.parametrize("key", [1, None, ("a",), b"a"])
def test_keys_are_text(key: Any) -> None:
    session = session_with(a=1)
    with pytest.raises(TypeError, match="keys are str"):
        session[key] = 1
    assert session.get(key) is None


@pytest.mark.parametrize("key", ["\0c", "\0", "\ud800"])
def test_the_names_of_the_kits_own_fields_are_refused(key: str) -> None:
    session = session_with(a=1)
    with pytest.raises(ValueError):
        session[key] = 1
    assert key not in session


def test_any_other_key_will_do() -> None:
    session = session_with(**{"": 1, "é": 2, "a\0b": 3, "x" * 1000: 4})
    assert dict(session) == {"": 1, "é": 2, "a\0b": 3, "x" * 1000: 4}


def test_a_value_that_cannot_be_stored_is_named() -> None:
    session = session_with()
    session["a"] = object()
    with pytest.raises(CodecError, match=r"session\['a'\].*object"):
        session.contents.changes()


def test_a_field_that_cannot_be_read_is_absent_and_left_where_it_is() -> None:
    reported: list[str] = []
    fields = {"bad": b"\xff\xff", "good": codec.encode(1), "user_id": b""}
    contents = Contents(
        codec,
        "A" * 43,
        lambda: Loaded(fields, b"i", 1.0, False),
        lambda name, _: reported.append(name),
    )
    session = RedisSession(contents)
    assert dict(session) == {"good": 1}
    assert "bad" not in session
    assert session.get("user_id") is None
    assert session.pop("bad", "none") == "none"
    assert contents.user is None
    assert contents.changes() == NO_CHANGE
    assert reported == ["bad", "user_id"]
    session["bad"] = 2
    assert changes(session) == {"bad": 2}


USES: dict[str, Callable[[RedisSession], object]] = {
    "get": lambda session: session["a"],
    "set": lambda session: session.update(b=1),
    "delete": lambda session: session.pop("a"),
    "contains": lambda session: "a" in session,
    "iterate": list,
    "truth": bool,
    "clear": lambda session: session.clear(),
    "regenerate": lambda session: session.regenerate(),
    "new": lambda session: session.new,
    "sid": lambda session: session.sid,
    "permanent": lambda session: session.permanent,
    "set permanent": lambda session: setattr(session, "permanent", True),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_of_the_data_counts_as_access(use: Callable[[RedisSession], object]) -> None:
    """Before Flask 3.1.3 nobody else notes it."""
    session = session_with(a=1)
    assert not session.accessed
    use(session)
    assert session.accessed


def test_what_needs_no_data_loads_nothing() -> None:
    def refuse() -> Loaded:
        raise AssertionError("loaded")

    session = RedisSession(Contents(codec, "A" * 43, refuse))
    assert session.sid == "A" * 43
    session.permanent = True
    assert session.permanent
    assert repr(session) == "<RedisSession, not loaded>"
    session.clear()
    session["a"] = 1
    assert dict(session) == {"a": 1}
    assert session.sid != "A" * 43
    assert session.new


def test_clearing_forgets_that_it_was_permanent_as_a_dict_would() -> None:
    session = session_with(_permanent=True, a=1)
    session.permanent = True
    session.clear()
    assert not session.permanent
    assert dict(session) == {}


def test_permanent_is_a_field_as_in_flask() -> None:
    session = session_with(a=1)
    session.permanent = True
    assert session["_permanent"] is True
    assert changes(session) == {"_permanent": True}
    session.permanent = False
    assert not session.permanent


def test_whether_it_is_new() -> None:
    assert RedisSession(Contents(codec)).new
    assert RedisSession(Contents(codec, "A" * 43, lambda: NOTHING)).is_new
    assert not session_with(a=1).is_new


def test_two_threads_load_once_and_share_what_was_decoded() -> None:
    loads: list[int] = []
    both = threading.Barrier(2)

    def load() -> Loaded:
        loads.append(1)
        return Loaded({"a": codec.encode([])}, b"i", 1.0, False)

    session = RedisSession(Contents(codec, "A" * 43, load))

    def add(value: int) -> None:
        both.wait(60)
        session["a"].append(value)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, (1, 2)))
    assert loads == [1]
    assert sorted(session["a"]) == [1, 2]


@pytest.mark.parametrize("key", ["\0c", "\ud800", 7, b"a", None])
def test_what_no_field_can_be_called_is_not_there(key: Any) -> None:
    stored = {b"a": codec.encode(1), b"\0c": codec.encode(1), b"\xff": b"2"}
    loaded = Loaded(StoredFields(stored), b"incarnation", 100.0, False)
    session = RedisSession(Contents(codec, "A" * 43, lambda: loaded))
    assert key not in session
    assert session.get(key) is None
    assert dict(session) == {"a": 1}
