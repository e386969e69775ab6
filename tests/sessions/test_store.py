"""The scripts and what they leave in the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.keys import KeyBuilder, key_pattern
from flask_redis_kit.core.script import Script
from flask_redis_kit.sessions import SessionsFeature
from flask_redis_kit.sessions.changes import Changes
from flask_redis_kit.sessions.ids import digest_of, is_id, new_id, new_incarnation
from flask_redis_kit.sessions.record import GRACE, NOTHING
from flask_redis_kit.sessions.roll import ENROL, ROLL
from flask_redis_kit.sessions.rotation import ROTATE
from flask_redis_kit.sessions.store import (
    CREATE,
    DESTROY,
    LOCK,
    SAVE,
    UNLOCK,
    WRITE,
    Lock,
    Saved,
    SessionStore,
)
from tests.core.connecting import wire_to

SESSION = digest_of("A" * 43)
KEY = f"frk:{{shop:{SESSION}}}:session:h"


@pytest.fixture
def store(redis_url: str) -> Iterator[SessionStore]:
    with wire_to(redis_url) as wire:
        yield SessionStore(wire, KeyBuilder("shop"), Codec())


def test_a_session_is_one_hash_under_the_hash_of_its_id(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    created = store.wire.send(store.create(SESSION, b"i", 100, {b"a": b"1", b"\0u": b"7"}))
    assert created == (True, None)
    assert redis_client.keys("*:session:*") == [KEY.encode()]
    assert redis_client.hgetall(KEY) == {b"\0c": b"i", b"a": b"1", b"\0u": b"7"}
    assert 80 < redis_client.ttl(KEY) <= 100
    spec = SessionsFeature.keyspace[0]
    assert key_pattern(spec).fullmatch(KEY.encode())
    loaded = store.wire.send(store.load(SESSION))
    assert loaded.fields == {"a": b"1"}
    assert loaded.incarnation == b"i"
    assert 99 <= loaded.seconds <= 100


def test_nothing_is_loaded_where_nothing_is(store: SessionStore) -> None:
    assert store.wire.send(store.load(SESSION)) == NOTHING


def test_creating_twice_is_creating_once(store: SessionStore) -> None:
    assert store.wire.send(store.create(SESSION, b"i", 100, {b"a": b"1"})).created
    assert store.wire.send(store.create(SESSION, b"i", 100, {b"a": b"1"})).created


def test_creating_where_another_session_is_tells_whose(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    store.wire.send(store.create(SESSION, b"i", 100, {b"a": b"1"}))
    assert store.wire.send(store.create(SESSION, b"j", 100, {b"a": b"2"})) == (False, b"i")
    assert redis_client.hget(KEY, "a") == b"1"


def test_nothing_is_created_where_one_has_ended(store: SessionStore) -> None:
    assert not store.wire.send(store.destroy(SESSION, b"k"))
    assert store.wire.send(store.create(SESSION, b"i", 100, {b"a": b"1"})) == (False, None)
    assert store.wire.send(store.load(SESSION)).ended


def test_saving_writes_and_deletes_only_what_is_named(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    store.wire.send(store.create(SESSION, b"i", 100, {b"a": b"1", b"b": b"2", b"c": b"3"}))
    assert store.wire.send(store.save(SESSION, b"i", 200, Changes({b"a": b"\0\r\n\xff"}, [b"b"])))
    assert redis_client.hgetall(KEY) == {b"\0c": b"i", b"a": b"\0\r\n\xff", b"c": b"3"}
    assert redis_client.ttl(KEY) > 100


@pytest.mark.parametrize("ended", [True, False])
def test_saving_what_ended_writes_nothing(
    store: SessionStore, redis_client: redis.Redis, ended: bool
) -> None:
    store.wire.send(store.create(SESSION, b"another", 100, {b"a": b"1"}))
    if ended:
        store.wire.send(store.destroy(SESSION, b"d"))
    before = redis_client.hgetall(KEY), redis_client.ttl(KEY)
    late = store.save(SESSION, b"i", 1000, Changes({b"a": b"2"}, []))
    assert store.wire.send(late) is Saved.GONE
    if ended:
        assert store.wire.send(store.touch(SESSION, 1000)) is Saved.GONE
    assert (redis_client.hgetall(KEY), redis_client.ttl(KEY)) == before


def test_saving_where_nothing_is_writes_nothing(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    late = store.save(SESSION, b"i", 1000, Changes({b"a": b"2"}, []))
    assert store.wire.send(late) is Saved.GONE
    assert redis_client.keys("*:session:*") == []


def test_an_ending_that_is_sent_again_reports_the_same(store: SessionStore) -> None:
    store.wire.send(store.create(SESSION, b"i", 100, {b"a": b"1"}))
    assert store.wire.send(store.destroy(SESSION, b"r1"))
    assert store.wire.send(store.destroy(SESSION, b"r1"))
    assert not store.wire.send(store.destroy(SESSION, b"r2"))


def test_only_a_rotation_is_remembered_as_one(store: SessionStore) -> None:
    for tombstone, rotated in ((b"r1", True), (b"d", False), (b"k", False)):
        store.wire.send(store.destroy(SESSION, tombstone))
        assert store.wire.send(store.load(SESSION)).rotated is rotated


def test_a_session_may_have_more_fields_than_lua_has_stack(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    many = {b"%d" % n: b"v%d" % n for n in range(20_000)}
    store.wire.send(store.create(SESSION, b"i", 100, many))
    assert len(store.wire.send(store.load(SESSION)).fields) == 20_000
    changed = dict.fromkeys(many, b"w")
    absent = [b"x%d" % n for n in range(20_000)]
    store.wire.send(store.save(SESSION, b"i", 100, Changes(changed, absent)))
    assert set(store.wire.send(store.load(SESSION)).fields.values()) == {b"w"}
    store.wire.send(store.save(SESSION, b"i", 100, Changes({}, list(many))))
    assert redis_client.hgetall(KEY) == {b"\0c": b"i"}


def test_a_field_that_is_no_text_is_passed_over(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    store.wire.send(store.create(SESSION, b"i", 100, {b"a": b"1", b"\xff": b"2"}))
    assert store.wire.send(store.load(SESSION)).fields == {"a": b"1"}


SCRIPTS = [SAVE, WRITE, ROTATE, CREATE, DESTROY, LOCK, UNLOCK, ENROL, ROLL]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.filename)
def test_every_script_says_what_it_takes_and_returns(script: Script) -> None:
    source = script.source.decode()
    for heading in ("-- KEYS     1 ", "-- ARGV     1 ", "-- RETURNS  "):
        assert heading in source


def test_ids_are_random_and_recognised() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_id(sid) and is_id(digest_of(sid)) for sid in ids)
    assert not is_id("A" * 43 + "\n")
    assert len({new_incarnation() for _ in range(100)}) == 100


def test_pruning_ends_a_session_only_if_nothing_is_left(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    fields = {b"a": b"1", b"b": b"2", b"\0u": b"7", b"_permanent": b"3"}
    assert store.wire.send(store.create(SESSION, b"i", 100, fields)).created

    def prune(field: bytes, tombstone: bytes, incarnation: bytes = b"i") -> Saved:
        changes = Changes({b"_permanent": b"4"}, [field])
        return store.wire.send(store.save(SESSION, incarnation, 200, changes, tombstone=tombstone))

    assert prune(b"a", b"d0", b"another") is Saved.GONE
    assert redis_client.hgetall(KEY) == {b"\0c": b"i", **fields}
    assert prune(b"a", b"d1") is Saved.SAVED
    assert redis_client.hgetall(KEY) == {
        b"\0c": b"i",
        b"\0u": b"7",
        b"b": b"2",
        b"_permanent": b"4",
    }
    assert redis_client.ttl(KEY) > 100
    assert prune(b"b", b"d2") is Saved.ENDED
    assert prune(b"b", b"d2") is Saved.ENDED  # sent again: its reply was lost
    assert prune(b"b", b"d3") is Saved.GONE
    assert redis_client.hgetall(KEY) == {b"\0x": b"d2"}
    assert 0 < redis_client.ttl(KEY) <= GRACE


def test_a_save_that_gave_the_lock_back_writes_nothing_when_it_is_sent_again(
    store: SessionStore,
) -> None:
    store.wire.send(store.create(SESSION, b"i", 100, {b"n": b"1"}))
    assert store.wire.send(store.lock(SESSION, "first", 10)) == 0
    assert store.wire.send(store.lock(SESSION, "first", 10)) == 0  # sent again
    assert 0 < store.wire.send(store.lock(SESSION, "second", 10)) <= 10
    first = store.save(SESSION, b"i", 100, Changes({b"n": b"2"}, []), lock=Lock("first", True))
    assert store.wire.send(first) is Saved.SAVED
    assert store.wire.send(store.lock(SESSION, "second", 10)) == 0
    second = store.save(SESSION, b"i", 100, Changes({b"n": b"3"}, []), lock=Lock("second", True))
    assert store.wire.send(second) is Saved.SAVED
    assert store.wire.send(first) is Saved.OVERTAKEN
    assert store.wire.send(second) is Saved.SAVED
    assert store.wire.send(store.load(SESSION)).fields == {"n": b"3"}


def test_a_save_that_is_sent_again_overtakes_nobody(store: SessionStore) -> None:
    store.wire.send(store.create(SESSION, b"i", 100, {b"n": b"1"}))
    store.wire.send(store.lock(SESSION, "first", 10))
    first = store.save(SESSION, b"i", 100, Changes({b"n": b"2"}, []), lock=Lock("first", True))
    store.wire.send(first)
    store.wire.send(store.save(SESSION, b"i", 100, Changes({b"n": b"3"}, [])))  # somebody else's
    assert store.wire.send(first) is Saved.SAVED
    assert store.wire.send(store.load(SESSION)).fields == {"n": b"3"}
