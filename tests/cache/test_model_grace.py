"""Hard and soft invalidation and grace against a model, in any order of operations (hypothesis)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import redis
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from flask_redis_kit import RedisKit
from flask_redis_kit.cache.ttl import Lifetime
from tests.cache.flying import Value, soften
from tests.harness.servers import Server

GRACE_MS = 60_000
LIFETIMES = {
    "a": Lifetime(60_000, GRACE_MS),
    "b": Lifetime(60_000, GRACE_MS),
    "c": Lifetime(60_000),
}
WHICH = st.integers(0, 1)
NAMES = st.sampled_from(list(LIFETIMES))
EXTRA = st.sets(st.sampled_from(["x", "y"]))
TAGS = st.sets(st.sampled_from(["tag-a", "tag-b", "all", "x", "y"]), max_size=2)


@dataclass(frozen=True)
class Entry:
    """What the model knows to be stored and valid."""

    number: int
    tags: frozenset[str]
    fresh: bool = True


class Failed(Exception):
    """The computation's own error."""


class FlightsAndModel(RuleBasedStateMachine):
    """Two kits on one server. What is computed are numbers that count up."""

    server: Server
    config: dict[str, object]
    exact = True
    """False: values may be missing at any time, as the log forgets; none may be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.client = self.server.client()
        self.client.flushall()
        self.apps = [Flask("model"), Flask("model")]
        for app in self.apps:
            app.config.update(REDIS_URL=self.server.url, REDIS_CACHE_RETRY_SECONDS=0)
            app.config.update(self.config)
        self.kits = [RedisKit(app, features=("cache",)) for app in self.apps]
        self.values = [
            {
                name: Value(kit, name, tags=(f"tag-{name}", "all"), lifetime=lifetime)
                for name, lifetime in LIFETIMES.items()
            }
            for kit in self.kits
        ]
        self.model: dict[str, Entry] = {}
        self.number = 0

    def compute(self, meanwhile: Callable[[], object] = lambda: None) -> Callable[[], int]:
        def computed() -> int:
            self.number += 1
            number = self.number
            meanwhile()
            return number

        return computed

    @rule(which=WHICH, name=NAMES, extra=EXTRA)
    def get(self, which: int, name: str, extra: set[str]) -> None:
        self.forget_what_is_missing(name)
        entry = self.model.get(name)
        got = self.values[which][name].get(self.compute(), extra_tags=tuple(extra))
        if entry is not None and entry.fresh:
            assert got == entry.number
        else:
            assert got == self.number, "a stale value is renewed by who asks first"
            self.stored(name, got, extra)

    @rule(which=WHICH, name=NAMES, extra=EXTRA)
    def refresh(self, which: int, name: str, extra: set[str]) -> None:
        value = self.values[which][name]
        got = value.get(self.compute(), extra_tags=tuple(extra), refresh=True)
        assert got == self.number
        self.stored(name, got, extra)

    @rule(which=WHICH, name=NAMES)
    def get_when_computing_fails(self, which: int, name: str) -> None:
        def fails() -> int:
            raise Failed

        self.forget_what_is_missing(name)
        entry = self.model.get(name)
        if entry is None:
            with pytest.raises(Failed):
                self.values[which][name].get(fails)
        else:
            assert self.values[which][name].get(fails) == entry.number

    @rule(which=WHICH, name=NAMES, extra=EXTRA, tags=TAGS, kind=st.sampled_from(["hard", "soft"]))
    def invalidate_while_computing(
        self, which: int, name: str, extra: set[str], tags: set[str], kind: str
    ) -> None:
        def meanwhile() -> None:
            (self.harden if kind == "hard" else self.soften)(1 - which, tags)

        value = self.values[which][name]
        got = value.get(self.compute(meanwhile), extra_tags=tuple(extra), refresh=True)
        concerned = bool(tags & self.tags_of(name, extra))
        if not concerned:
            self.stored(name, got, extra)
        elif kind == "soft":  # it is stored, and stale at once
            self.stored(name, got, extra)
            self.soften_model(name)

    @rule(which=WHICH, name=NAMES)
    def clear_while_computing(self, which: int, name: str) -> None:
        value = self.values[which][name]
        value.get(self.compute(lambda: self.clear(1 - which)), refresh=True)

    @rule(which=WHICH, tags=TAGS)
    def harden(self, which: int, tags: set[str]) -> None:
        self.kits[which].cache.invalidate_tags(*sorted(tags))
        self.model = {n: entry for n, entry in self.model.items() if not entry.tags & tags}

    @rule(which=WHICH, tags=TAGS)
    def soften(self, which: int, tags: set[str]) -> None:
        soften(self.kits[which], *sorted(tags))
        for name, entry in list(self.model.items()):
            if entry.tags & tags:
                self.soften_model(name)

    @rule(which=WHICH)
    def clear(self, which: int) -> None:
        self.kits[which].cache.clear()
        self.model = {}

    @rule(name=NAMES, left=st.integers(GRACE_MS // 2, GRACE_MS))
    def let_time_pass(self, name: str, left: int) -> None:
        key = self.values[0][name].place.value
        if LIFETIMES[name].grace_ms and self.client.pexpire(key, left, lt=True):
            self.soften_model(name)

    @rule(name=NAMES)
    def evict_the_value(self, name: str) -> None:
        self.client.delete(self.values[0][name].place.value)
        self.model.pop(name, None)

    @rule()
    def evict_the_log(self) -> None:
        for key in self.client.keys("frk:{model:*}:cache:t"):
            self.client.delete(key)
        self.model = {}

    @rule()
    def forget_the_scripts(self) -> None:
        self.client.script_flush()

    @invariant()
    def what_is_seen_is_what_the_model_says(self) -> None:
        for name in LIFETIMES:
            self.forget_what_is_missing(name)
            for values in self.values:
                hit, entry = values[name].seen(), self.model.get(name)
                assert (hit is None) == (entry is None)
                if hit is not None and entry is not None:
                    assert hit.value == entry.number
                    assert (hit.fresh_ms > 0) == entry.fresh

    def forget_what_is_missing(self, name: str) -> None:
        if not self.exact and self.values[0][name].seen() is None:
            self.model.pop(name, None)

    def tags_of(self, name: str, extra: set[str]) -> frozenset[str]:
        return frozenset({f"tag-{name}", "all", *extra})

    def stored(self, name: str, number: int, extra: set[str]) -> None:
        self.model[name] = Entry(number, self.tags_of(name, extra))

    def soften_model(self, name: str) -> None:
        entry = self.model.get(name)
        if entry is None:
            return
        if LIFETIMES[name].grace_ms:
            self.model[name] = replace(entry, fresh=False)
        else:
            del self.model[name]

    def teardown(self) -> None:
        for kit in self.kits:
            kit.close()
        self.client.close()


class WithAShortLog(FlightsAndModel):
    """The log forgets almost at once."""

    exact = False


@pytest.fixture(params=[(FlightsAndModel, {}), (WithAShortLog, {"REDIS_CACHE_LOG_LIMIT": 2})])
def machine(
    request: pytest.FixtureRequest, server: Server, redis_client: redis.Redis
) -> Iterator[type[FlightsAndModel]]:
    kind: type[FlightsAndModel]
    kind, config = request.param
    kind.server, kind.config = server, config
    yield kind
    redis_client.flushall()


def test_flights_do_what_the_model_does(machine: type[FlightsAndModel]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
