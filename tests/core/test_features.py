"""The built-in features, and one of a user, keep the contract of all features."""

from __future__ import annotations

import itertools
from typing import ClassVar

from flask import Flask, session

from flask_redis_kit import RedisKit, RedisSessionInterface
from tests.core import feature_contract
from tests.core.counter import CounterFeature


class TestCache(feature_contract.FeatureContract):
    name: ClassVar[str] = "cache"
    commands: ClassVar[tuple[str, ...]] = ("cache",)
    values: ClassVar[itertools.count[int]] = itertools.count()

    def write(self, app: Flask, kit: RedisKit) -> None:
        kit.cache.set("k", next(self.values), ttl=60)

    def read(self, app: Flask, kit: RedisKit) -> object:
        return kit.cache.get("k")


class TestRateLimit(feature_contract.FeatureContract):
    name: ClassVar[str] = "ratelimit"
    commands: ClassVar[tuple[str, ...]] = ("limits",)

    def write(self, app: Flask, kit: RedisKit) -> None:
        kit.ratelimit.check(limit=9, window=60, key="k")

    def read(self, app: Flask, kit: RedisKit) -> object:
        return kit.ratelimit.peek(limit=9, window=60, key="k").remaining


class TestEvents(feature_contract.FeatureContract):
    name: ClassVar[str] = "events"

    def write(self, app: Flask, kit: RedisKit) -> None:
        kit.events.publish("k", "happened", {})

    def read(self, app: Flask, kit: RedisKit) -> object:
        return kit.events.cursor(["k"])


class TestQueue(feature_contract.FeatureContract):
    name: ClassVar[str] = "queue"
    commands: ClassVar[tuple[str, ...]] = ("worker", "queue")

    def write(self, app: Flask, kit: RedisKit) -> None:
        kit.queue.enqueue("k", {})

    def read(self, app: Flask, kit: RedisKit) -> object:
        if not kit.queue.context().config.enabled:
            return 0  # the figures are asked for, switched off or not
        return sum(each.normal for each in kit.queue.engine().stats())


class TestSessions(feature_contract.FeatureContract):
    """Written and read by requests of one browser."""

    name: ClassVar[str] = "sessions"
    commands: ClassVar[tuple[str, ...]] = ("sessions",)

    def prepare(self, app: Flask, kit: RedisKit) -> None:
        app.session_interface = RedisSessionInterface(kit)
        app.extensions["browser"] = app.test_client()

        @app.post("/session")
        def put() -> str:
            session["n"] = session.get("n", 0) + 1
            return ""

        @app.get("/session")
        def get() -> str:
            return str(session.get("n"))

    def write(self, app: Flask, kit: RedisKit) -> None:
        app.extensions["browser"].post("/session")

    def read(self, app: Flask, kit: RedisKit) -> object:
        return app.extensions["browser"].get("/session").text


class TestCounter(feature_contract.FeatureContract):
    """A feature of the application's own, whose writes are deferred."""

    name: ClassVar[str] = "counter"

    def kit(self) -> RedisKit:
        kit = RedisKit(features=())
        kit.register(CounterFeature())
        return kit

    def write(self, app: Flask, kit: RedisKit) -> None:
        if kit.counter.context().config.enabled:
            kit.counter.later("k")

    def read(self, app: Flask, kit: RedisKit) -> object:
        return kit.counter.read("k") if kit.counter.context().config.enabled else 0
