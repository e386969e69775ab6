"""The cache against a model, in any order of operations (hypothesis)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from flask_redis_kit import RedisKit
from tests.harness.servers import Server

KEYS = st.sampled_from(["a", "b", "c"])
TAGS = st.lists(st.sampled_from(["t", "u", "v"]), max_size=3, unique=True)


class CacheAndModel(RuleBasedStateMachine):
    """Two kits on one server; the truth is a number that counts up before each invalidation."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.client = self.server.client()
        self.client.flushall()
        self.apps = [Flask("model"), Flask("model")]
        for app in self.apps:
            app.config.update(REDIS_URL=self.server.url)
        self.kits = [RedisKit(app, features=("cache",)) for app in self.apps]
        self.stored: dict[str, tuple[int, frozenset[str]]] = {}
        self.number = 0

    @rule(which=st.integers(0, 1), key=KEYS)
    def get(self, which: int, key: str) -> None:
        found = self.kits[which].cache.get(key)
        expected = self.stored[key][0] if key in self.stored else None
        assert found == expected

    @rule(which=st.integers(0, 1), key=KEYS, tags=TAGS)
    def set(self, which: int, key: str, tags: list[str]) -> None:
        self.number += 1
        with self.apps[which].test_request_context():
            assert self.kits[which].cache.set(key, self.number, tags=tags)
        self.stored[key] = (self.number, frozenset(tags))

    @rule(which=st.integers(0, 1), key=KEYS, tags=TAGS, other=TAGS)
    def invalidate_between_get_and_set(
        self, which: int, key: str, tags: list[str], other: list[str]
    ) -> None:
        kit = self.kits[which]
        with self.apps[which].test_request_context():
            missed = kit.cache.get(key) is None
            assert missed == (key not in self.stored)
            self.invalidate_tags(1 - which, other)
            if missed:
                self.number += 1
                stored = kit.cache.set(key, self.number, tags=tags)
                assert stored == (not set(tags) & set(other))
                if stored:
                    self.stored[key] = (self.number, frozenset(tags))

    @rule(which=st.integers(0, 1), tags=TAGS)
    def invalidate_tags(self, which: int, tags: list[str]) -> None:
        assert self.kits[which].cache.invalidate_tags(*tags) == len(tags)
        self.stored = {k: v for k, v in self.stored.items() if not v[1] & set(tags)}

    @rule(which=st.integers(0, 1), key=KEYS)
    def delete(self, which: int, key: str) -> None:
        existed = self.kits[which].cache.delete(key)
        assert existed or key not in self.stored
        self.stored.pop(key, None)

    @rule(which=st.integers(0, 1))
    def clear(self, which: int) -> None:
        self.kits[which].cache.clear()
        self.stored = {}

    @precondition(lambda self: self.stored)
    @rule()
    def lose_the_log(self) -> None:
        for log in self.client.keys("frk:{model:*}:cache:t"):
            self.client.delete(log)
        self.stored = {}

    @rule()
    def lose_the_scripts(self) -> None:
        self.client.script_flush()

    def teardown(self) -> None:
        for kit in self.kits:
            kit.close()
        self.client.close()


@pytest.fixture
def machine(server: Server, redis_client: redis.Redis) -> Iterator[type[CacheAndModel]]:
    CacheAndModel.server = server
    yield CacheAndModel
    redis_client.flushall()


def test_the_cache_does_what_the_model_does(machine: type[CacheAndModel]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
