"""The public interface against a model, in any order of operations (hypothesis).

Two applications, each with a namespace of its own, share a server. A value that is expected must be
the one that was computed or set; one that isn't must be computed anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from flask_redis_kit import RedisKit
from tests.harness.servers import Server
from tests.waiting import wait_until

APPS = st.sampled_from(["one", "two"])
ITEMS = st.integers(0, 2)
KEYS = st.sampled_from(["a", "b", "c"])
TAGS = st.lists(st.sampled_from(["item:0", "item:1", "odd", "u"]), max_size=3, unique=True)
GRACES = st.sampled_from([0, 600])
TTL = 300


@dataclass
class Entry:
    """A value that is expected; ``stale``: it may be served in its grace period."""

    value: int
    tags: frozenset[str]
    grace: bool = False
    stale: bool = False


@dataclass
class Side:
    """One application, and what its cache should hold."""

    app: Flask
    kit: RedisKit
    held: dict[str, Entry] = field(default_factory=dict)
    computed: list[int] = field(default_factory=list)


class Model(RuleBasedStateMachine):
    """Names in ``held``: ``call 0`` and ``page 0`` of functions and routes, ``key a`` by hand."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.client = self.server.client()
        self.client.flushall()
        self.number = 0
        self.sides = {name: self.make_side(name) for name in ("one", "two")}

    def make_side(self, name: str) -> Side:
        app = Flask(name)
        app.config.update(REDIS_URL=self.server.url)
        side = Side(app, RedisKit(app, features=("cache",)))

        def compute() -> int:
            self.number += 1
            side.computed.append(self.number)
            return self.number

        # beside its own tag, one that follows from the result
        @side.kit.cache.cache_result("n", ttl=TTL, grace=600, tags=["item:{item}", odd])
        def call(item: int) -> int:
            return compute()

        @app.get("/pages/<int:item>")
        @side.kit.cache.cache_result("p", ttl=TTL, tags=["item:{item}"])
        def page(item: int) -> str:
            return str(compute())

        app.extensions["tried"] = call
        return side

    # what is read

    def expect(self, side: Side, name: str, found: int, made: Entry) -> None:
        """``found`` is the value that was held, or else the one computed just now."""
        entry = side.held.get(name)
        if entry is not None and not entry.stale:
            assert found == entry.value
            assert not side.computed
        else:
            assert side.computed == [found]
            made.value = found
            side.held[name] = made
        side.computed.clear()

    @rule(app=APPS, item=ITEMS)
    def call(self, app: str, item: int) -> None:
        side = self.sides[app]
        with side.app.app_context():
            found = side.app.extensions["tried"](item)
        tags = frozenset([f"item:{item}", *odd(found), "prefix n", f"call {item}"])
        self.expect(side, f"call {item}", found, Entry(found, tags, grace=True))

    @rule(app=APPS, item=ITEMS)
    def page(self, app: str, item: int) -> None:
        side = self.sides[app]
        found = int(side.app.test_client().get(f"/pages/{item}").text)
        tags = frozenset([f"item:{item}", "prefix p", f"url {item}"])
        self.expect(side, f"page {item}", found, Entry(found, tags))

    @rule(app=APPS, keys=st.lists(KEYS, unique=True))
    def get(self, app: str, keys: list[str]) -> None:
        side = self.sides[app]
        fresh = {
            key: entry.value
            for key in keys
            if (entry := side.held.get(f"key {key}")) is not None and not entry.stale
        }
        with side.app.test_request_context():
            assert side.kit.cache.get_many(keys) == fresh
            for key in keys:
                assert side.kit.cache.get(key) == fresh.get(key)
                assert side.kit.cache.has(key) == (key in fresh)

    @rule(app=APPS, key=KEYS)
    def get_even_if_stale(self, app: str, key: str) -> None:
        side = self.sides[app]
        entry = side.held.get(f"key {key}")
        with side.app.test_request_context():
            assert side.kit.cache.get(key, stale=True) == (entry and entry.value)

    # what is set

    @rule(app=APPS, keys=st.lists(KEYS, min_size=1, unique=True), tags=TAGS, grace=GRACES)
    def set(self, app: str, keys: list[str], tags: list[str], grace: int) -> None:
        side = self.sides[app]
        self.number += 1
        values = dict.fromkeys(keys, self.number)
        with side.app.test_request_context():
            assert all(side.kit.cache.set_many(values, TTL, tags, grace=grace).values())
        for key in keys:
            self.hold(side, key, tags, grace)

    @rule(app=APPS, key=KEYS, tags=TAGS)
    def add(self, app: str, key: str, tags: list[str]) -> None:
        side = self.sides[app]
        self.number += 1
        entry = side.held.get(f"key {key}")
        free = entry is None or entry.stale
        with side.app.test_request_context():
            assert side.kit.cache.add(key, self.number, TTL, tags) == free
        if free:
            self.hold(side, key, tags, 0)

    @rule(app=APPS, key=KEYS, tags=TAGS, other=TAGS)
    def invalidate_between_get_and_set(
        self, app: str, key: str, tags: list[str], other: list[str]
    ) -> None:
        side = self.sides[app]
        with side.app.test_request_context():
            missed = side.kit.cache.get(key) is None
            self.invalidate_tags(app, other, soft=False)
            if missed:
                self.number += 1
                stored = side.kit.cache.set(key, self.number, TTL, tags)
                assert stored == (not {*tags} & {*other})
                if stored:
                    self.hold(side, key, tags, 0)

    @rule(app=APPS, key=KEYS)
    def count(self, app: str, key: str) -> None:
        side = self.sides[app]
        entry = side.held.get(f"key {key}")
        start = 0 if entry is None or entry.stale else entry.value
        with side.app.test_request_context():
            assert side.kit.cache.incr(key, 1000, TTL) == start + 1000
        if entry is None or entry.stale:
            side.held[f"key {key}"] = Entry(1000, frozenset())
        else:
            entry.value += 1000

    def hold(self, side: Side, key: str, tags: list[str], grace: int) -> None:
        side.held[f"key {key}"] = Entry(self.number, frozenset(tags), grace=grace > 0)

    # what is invalidated

    def forget(self, side: Side, *tags: str, soft: bool = False) -> None:
        for name, entry in list(side.held.items()):
            if not entry.tags & {*tags}:
                continue
            if soft and entry.grace:
                entry.stale = True
            else:
                del side.held[name]

    @rule(app=APPS, tags=TAGS, soft=st.booleans())
    def invalidate_tags(self, app: str, tags: list[str], soft: bool) -> None:
        side = self.sides[app]
        assert side.kit.cache.invalidate_tags(*tags, soft=soft) == len(tags)
        self.forget(side, *tags, soft=soft)

    @rule(app=APPS, prefix=st.sampled_from("np"))
    def invalidate_prefix(self, app: str, prefix: str) -> None:
        self.sides[app].kit.cache.invalidate_prefix(prefix)
        self.forget(self.sides[app], f"prefix {prefix}")

    @rule(app=APPS, item=ITEMS)
    def invalidate_call(self, app: str, item: int) -> None:
        self.sides[app].app.extensions["tried"].invalidate(item)
        self.forget(self.sides[app], f"call {item}")

    @rule(app=APPS, item=ITEMS, by_url=st.booleans())
    def invalidate_page(self, app: str, item: int, by_url: bool) -> None:
        cache = self.sides[app].kit.cache
        if by_url:
            cache.invalidate_url(f"/pages/{item}")
        else:
            cache.invalidate_endpoint("page", item=item)
        self.forget(self.sides[app], f"url {item}")

    @rule(app=APPS, keys=st.lists(KEYS, unique=True))
    def delete(self, app: str, keys: list[str]) -> None:
        side = self.sides[app]
        there = side.kit.cache.delete_many(keys)
        assert there >= sum(side.held.pop(f"key {key}", None) is not None for key in keys)

    @rule(app=APPS)
    def clear(self, app: str) -> None:
        self.sides[app].kit.cache.clear()
        self.sides[app].held.clear()

    # time, and what a server loses

    @precondition(lambda self: any(side.held for side in self.sides.values()))
    @rule(app=APPS, item=ITEMS, in_grace=st.booleans())
    def let_time_pass(self, app: str, item: int, in_grace: bool) -> None:
        """The time of a call's value goes by: all of it, or so that it is in its grace period."""
        side = self.sides[app]
        with side.app.app_context():
            key = side.app.extensions["tried"].cache_key(item)
        entry = side.held.get(f"call {item}")
        if entry is None:
            return
        if in_grace:
            assert self.client.pexpire(key, 60_000)
            entry.stale = True
        else:
            self.client.pexpire(key, 1)
            wait_until(lambda: not self.client.exists(key), what="the value to expire")
            del side.held[f"call {item}"]

    @rule(app=APPS)
    def lose_the_log(self, app: str) -> None:
        for log in self.client.scan_iter(f"frk:{{{app}:*}}:cache:t"):
            self.client.delete(log)
        self.sides[app].held.clear()

    @rule()
    def lose_the_scripts(self) -> None:
        self.client.script_flush()

    def teardown(self) -> None:
        for side in self.sides.values():
            with side.app.app_context():
                side.kit.close()
        self.client.close()


def odd(value: int) -> list[str]:
    """A tag that follows from the result."""
    return ["odd"] if value % 2 else []


@pytest.fixture
def machine(server: Server, redis_client: redis.Redis) -> Iterator[type[Model]]:
    Model.server = server
    yield Model
    redis_client.flushall()


def test_the_cache_does_what_the_model_does(machine: type[Model]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
