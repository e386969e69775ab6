"""The one script of a rotation, and the one of a plain write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.sessions.changes import NO_CHANGES, Changes
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.ids import digest_of, new_incarnation
from flask_redis_kit.sessions.record import (
    DEADLINE,
    GRACE,
    OWNER,
    Device,
    Owner,
    device_of,
    owner_of,
)
from flask_redis_kit.sessions.rotation import Entry, Rotated, rotation
from flask_redis_kit.sessions.store import SAVE, Saved, SessionStore
from tests.core.connecting import wire_to

pytestmark = pytest.mark.standalone(reason="its keys lie in several slots")
OLD, NEW = digest_of("old"), digest_of("new")
FIRST = b"1700000000000000deadbeef"
USER = Owner(b"7", 1.0, b"").stored()


class Second:
    """The session that a test makes of the old one."""

    incarnation = b""


@pytest.fixture
def store(redis_url: str) -> Iterator[SessionStore]:
    Second.incarnation = new_incarnation()  # of now: marks of rotations get old
    with wire_to(redis_url) as wire:
        store = SessionStore(wire, KeyBuilder("shop"), Codec())
        wire.send(store.create(OLD, FIRST, 100, {b"a": b"1", OWNER: USER}))
        wire.send(store.index.enrol("7", OLD, 100))
        yield store


def rotated(
    store: SessionStore,
    new: str = NEW,
    fields: dict[bytes, bytes] | None = None,
    *,
    user: str | None = "7",
    needed: bool = False,
    moved: bool = False,
) -> Exchange[Rotated]:
    """From the old session to a new one."""
    return rotation(
        store,
        OLD,
        new,
        Second.incarnation,
        100,
        {b"a": b"2"} if fields is None else fields,
        entry=None if user is None else Entry(user, 200, 100),
        entered=user == "7",
        needed=needed,
        moved=moved,
    )


def everything(client: redis.Redis) -> dict[bytes, object]:
    """What lies on the server, but for times."""
    held: dict[bytes, object] = {}
    for key in client.scan_iter("*:session:*"):
        kind = client.type(key)
        held[key] = client.hgetall(key) if kind == b"hash" else client.zrange(key, 0, -1)
    return held


@pytest.mark.parametrize("needed", [False, True])
def test_a_rotation_moves_a_session_and_its_entry_and_may_be_sent_again(
    store: SessionStore, redis_client: redis.Redis, needed: bool
) -> None:
    for _ in range(2):
        assert store.wire.send(rotated(store, needed=needed)) == (True, {})
        assert everything(redis_client) == {
            store.key(NEW).encode(): {b"\0c": Second.incarnation, b"a": b"2"},
            store.key(OLD).encode(): {b"\0x": b"r" + Second.incarnation},
            store.index.key("7").encode(): [NEW.encode()],
        }
    assert 99 <= redis_client.ttl(store.key(NEW)) <= 100
    assert GRACE - 1 <= redis_client.ttl(store.key(OLD)) <= GRACE
    assert 200 <= redis_client.ttl(store.index.key("7")) <= 201


def test_what_has_ended_is_not_rotated_however_often_that_is_sent(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    store.wire.send(store.destroy(OLD, b"d1"))
    for _ in range(2):
        assert not store.wire.send(rotated(store, needed=True)).stored
        assert redis_client.exists(store.key(NEW)) == 0
        assert store.wire.send(store.load(OLD)).rotated  # its cookie has one that comes after it


def test_a_login_counts_where_the_session_before_it_has_ended(store: SessionStore) -> None:
    store.wire.send(store.destroy(OLD, b"d1"))
    assert store.wire.send(rotated(store)).stored
    assert store.wire.send(store.load(NEW)).fields == {"a": b"2"}


def test_no_session_is_rotated_to_an_id_that_was_ended(store: SessionStore) -> None:
    store.wire.send(store.destroy(NEW, b"k1"))
    assert not store.wire.send(rotated(store)).stored
    assert store.wire.send(store.load(NEW)).ended
    assert store.wire.send(store.load(OLD)).fields == {"a": b"1"}


def test_a_rotation_without_a_user_leaves_the_indexes_alone(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    assert store.wire.send(rotated(store, user=None)).stored
    assert redis_client.keys("*:session:u") == [store.index.key("7").encode()]


def test_the_mark_of_a_session_that_was_moved_stays_longer(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    store.moved_grace = 1000
    assert store.wire.send(rotated(store, moved=True)).stored
    assert redis_client.hkeys(store.key(OLD)) == [b"\0x", b"\0m"]
    assert 999 <= redis_client.ttl(store.key(OLD)) <= 1000
    store.wire.send(store.destroy(OLD, b"d1"))  # once more, which does not shorten that
    assert 999 <= redis_client.ttl(store.key(OLD)) <= 1000


def test_a_rotation_takes_more_fields_than_lua_has_stack(store: SessionStore) -> None:
    for count in (0, 3500, 3501, 7000, 7001, 20_000):
        many = {b"%d" % n: b"v%d" % n for n in range(count)}
        new = digest_of(str(count))
        assert store.wire.send(rotated(store, new, many)).stored
        found = store.wire.send(store.load(new)).fields
        assert found == {name.decode(): data for name, data in many.items()}


def test_a_rotation_tells_of_too_many_sessions_and_which_are_not_new(store: SessionStore) -> None:
    store.config = dataclasses.replace(store.config, max_per_user=2)
    settled, fresh = digest_of("settled"), digest_of("fresh")
    store.wire.send(store.index.enrol("7", settled, 20))
    store.wire.send(store.index.enrol("7", fresh, 100 - GRACE / 2))
    assert store.wire.send(rotated(store)).others == {settled: True, fresh: False}


def test_now_and_then_a_rotation_removes_the_entries_that_are_over(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    over = digest_of("over")
    index = store.index.key("7")
    redis_client.zadd(index, {over: 5})
    logins = 0
    while redis_client.zscore(index, over) is not None:
        logins += 1
        assert logins < 300
        store.wire.send(rotated(store, digest_of(str(logins))))
    assert logins > 1  # chosen by the id, which is the same one each time here


@pytest.mark.parametrize(("stored", "most"), [(None, 70), (50, 70), (50, None)])
def test_a_rotated_session_keeps_its_end_or_is_given_one(
    store: SessionStore, redis_client: redis.Redis, stored: int | None, most: float | None
) -> None:
    store.config = SessionsConfig(absolute_timeout=most)
    seconds = int(redis_client.time()[0])
    fields = {} if stored is None else {DEADLINE: b"%d" % (seconds + stored)}
    assert store.wire.send(rotated(store, fields=fields)).stored
    assert (stored or 70) - 2 <= redis_client.ttl(store.key(NEW)) <= (stored or 70) + 1
    assert redis_client.hget(store.key(NEW), "\0a") is not None


def test_an_index_that_is_none_is_an_error_and_the_old_session_stays(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    redis_client.set(store.index.key("8"), "another program's", ex=100)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        store.wire.send(rotated(store, user="8"))
    assert store.wire.send(store.load(OLD)).fields == {"a": b"1"}
    redis_client.delete(store.index.key("8"))


# a plain write


def test_a_plain_write_is_a_shorter_script_that_keeps_the_end_of_a_session(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    write = store.save(OLD, FIRST, 1000, Changes({b"b": b"2"}, []))
    (call,) = write.commands
    assert repr(call) != repr(SAVE.call([store.key(OLD)]))
    assert store.wire.send(write) is Saved.SAVED
    assert 999 <= redis_client.ttl(store.key(OLD)) <= 1000
    redis_client.hset(store.key(OLD), "\0a", int(redis_client.time()[0]) + 50)
    assert store.wire.send(write) is Saved.SAVED
    assert 48 <= redis_client.ttl(store.key(OLD)) <= 51
    assert store.wire.send(store.save(OLD, Second.incarnation, 10, NO_CHANGES)) is Saved.GONE
    assert 48 <= redis_client.ttl(store.key(OLD)) <= 51
    assert store.wire.send(store.load(OLD)).fields == {"a": b"1", "b": b"2"}


def test_a_new_end_of_a_session_is_kept_at_once(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    ends = b"%d" % (int(redis_client.time()[0]) + 50)
    assert store.wire.send(store.save(OLD, FIRST, 1000, Changes({DEADLINE: ends}, [])))
    assert 48 <= redis_client.ttl(store.key(OLD)) <= 51


# whose it is


@given(st.text(), st.integers(0, 2**40), st.text(), st.text())
def test_an_owner_is_read_as_it_was_stored(user: str, seen: int, agent: str, address: str) -> None:
    name = user.encode(errors="replace")
    agent, address = (text.replace("\n", "") for text in (agent, address))
    device = Device(agent, address).stored()
    assert owner_of(Owner(name, seen, device).stored()) == Owner(name, seen, device)
    if len(agent) <= 250 and len(address) <= 50:
        replaced = (text.encode(errors="replace").decode() for text in (agent, address))
        assert device_of(device) == Device(*replaced)


@pytest.mark.parametrize("stored", [b"", b"7", b"1:", b"a:1:7", b"1:a:7"])
def test_an_owner_that_cannot_be_read_is_none(stored: bytes) -> None:
    assert owner_of(stored) is None


@pytest.mark.parametrize("other", ["", "70", "7:", ":7", "1:7", "07", "x"])
def test_nobody_ends_the_session_of_one_whose_name_is_like_his(
    store: SessionStore, other: str
) -> None:
    assert not store.wire.send(store.destroy(OLD, b"k1", user=other))
    assert store.wire.send(store.destroy(OLD, b"k1", user="7"))
