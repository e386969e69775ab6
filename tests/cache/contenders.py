"""The caches that race: the kit's, read and invalidated in all its ways, and two naive ones."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Callable
from typing import Any

import redis
from flask import Flask, jsonify

from flask_redis_kit import RedisKit
from flask_redis_kit.cache import InvalidationError
from tests.cache.race import ITEMS, Contender, Numbers, Settings
from tests.harness.topologies import client_of

Compute = Callable[[int], Numbers]


def _tags_of(told: dict[str, Any]) -> list[str]:
    """The tag of the item, and another one that isn't always the same."""
    return [f"item:{told['item']}", f"odd:{sum(told['numbers']) % 2}"]


class Ours:
    """The kit's cache. Every way to read hangs on the tag of its item."""

    def __init__(self, settings: Settings, compute: Compute) -> None:
        self._app = app = Flask("race")
        app.config.update(REDIS_URL=settings.url, REDIS_MAX_CONNECTIONS=60, **settings.config)
        self._kit = kit = RedisKit(app, features=("cache",))
        self._cache = kit.cache
        self._compute = compute
        self._url = settings.url

        @kit.cache.cache_result(key_prefix="race", tags=["item:{item}", "all"])
        def number(item: int) -> Numbers:
            return compute(item)

        @kit.cache.cache_result(key_prefix="dynamic", tags=[_tags_of])
        def told(item: int, variant: int) -> dict[str, Any]:
            return {"item": item, "numbers": compute(item)}

        @kit.cache.cache_result(key_prefix="brief", ttl=0.02, grace=60, tags=["item:{item}"])
        def brief(item: int) -> Numbers:
            return compute(item)

        @kit.cache.cache_result(key_prefix="outer")
        def outer(item: int) -> Numbers:
            return number(item)  # whose tags are its own, too

        @app.get("/items/<int:item>")
        @kit.cache.cache_result(key_prefix="page", tags=["item:{item}"])
        def page(item: int) -> Any:
            return jsonify(compute(item))

        self._number, self._page = number, page
        self._ways: dict[str, Callable[[int], Numbers]] = {
            "function": number,
            "dynamic tags": lambda item: told(item, random.randrange(4))["numbers"],
            "in grace": brief,
            "made of another": outer,
            "hand": self._by_hand,
            "many by hand": self._many_by_hand,
            "computed by hand": self._computed_by_hand,
            "route": self._route,
        }
        self._invalidators: dict[str, Callable[[int], object]] = {
            "tags": self._tags,
            "soft": lambda item: self._cache.invalidate_tags(f"item:{item}", soft=True),
            "delete": lambda item: self._cache.delete_many([f"item {item}"]),
            "clear": lambda _: self._cache.clear(),
            "prefix": lambda _: self._cache.invalidate_prefix("race"),
            "call": number.invalidate,
            "arguments": page.invalidate,
            "url": lambda item: self._cache.invalidate_url(f"/items/{item}"),
            "endpoint": lambda item: self._cache.invalidate_endpoint("page", item=item),
            "transaction": self._transaction,
            "on all replicas": self._on_all_replicas,
        }

    def read(self, way: str, item: int) -> Numbers:
        return self._ways[way](item)

    def invalidate(self, how: str, item: int) -> bool:
        try:
            done = self._invalidators[how](item)
        except (InvalidationError, redis.RedisError):
            return False
        return done is not False

    def _by_hand(self, item: int) -> Numbers:
        value: Numbers | None = self._cache.get(f"item {item}")
        if value is None:
            value = self._compute(item)
            store = random.choice((self._cache.set, self._cache.add))
            store(f"item {item}", value, tags=[f"item:{item}"])
        return value

    def _many_by_hand(self, item: int) -> Numbers:
        keys = {f"one of many {n}": n for n in range(ITEMS)}
        found = self._cache.get_many(keys)
        missed = {key: self._compute(n) for key, n in keys.items() if key not in found}
        for key, value in missed.items():  # each with a tag of its own
            self._cache.set_many({key: value}, tags=[f"item:{keys[key]}"])
        return [*{**missed, **found}[f"one of many {item}"]]

    def _computed_by_hand(self, item: int) -> Numbers:
        return self._cache.get_or_set(
            f"item {item}", lambda: self._compute(item), tags=[f"item:{item}"]
        )

    def _route(self, item: int) -> Numbers:
        return [*json.loads(self._app.test_client().get(f"/items/{item}").data)]

    def _tags(self, item: int) -> None:
        noise = [f"noise:{random.randrange(1000)}" for _ in range(random.randrange(3))]
        if noise and random.random() < 0.2:
            self._cache.invalidate_tags(f"item:{item}", *noise, soft=True)
        self._cache.invalidate_tags(f"item:{item}", *noise)

    def _on_all_replicas(self, item: int) -> bool:
        """Whether both replicas of the master that has it now have acknowledged it."""
        mark = secrets.token_hex(8)
        self._cache.invalidate_tags(f"item:{item}", mark)
        with client_of(self._url, socket_timeout=2) as master:
            trip = master.pipeline(transaction=False)
            trip.zscore("frk:{race:0of1}:cache:t", f"t:{mark}")
            trip.set("race:mark", mark, px=60_000)
            trip.execute_command("WAIT", 2, 1000)
            score, _, replicas = trip.execute()
        return score is not None and replicas == 2

    def _transaction(self, item: int) -> None:
        with self._app.app_context(), self._kit.transaction() as tx:
            tx.cache.invalidate_tags(f"item:{item}")


class SetOfKeys:
    """The naive way: a set of the keys of each tag, deleted with its members."""

    def __init__(self, settings: Settings, compute: Compute) -> None:
        self._client = client_of(settings.url)
        self._compute = compute

    def read(self, way: str, item: int) -> Numbers:
        stored = self._client.get(f"naive:{item}")
        if stored is not None:
            return [*json.loads(stored)]
        value = self._compute(item)
        pipeline = self._client.pipeline()
        pipeline.set(f"naive:{item}", json.dumps(value), ex=300)
        pipeline.sadd(f"naive:tag:{item}", f"naive:{item}")
        pipeline.execute()
        return value

    def invalidate(self, how: str, item: int) -> bool:
        for key in (f"naive:tag:{item}", *self._client.smembers(f"naive:tag:{item}")):
            self._client.delete(key)
        return True


class TokenAtSave:
    """A random token for each tag, kept with the value; it is read when the value is saved."""

    def __init__(self, settings: Settings, compute: Compute) -> None:
        self._client = client_of(settings.url)
        self._compute = compute

    def read(self, way: str, item: int) -> Numbers:
        stored, token = self._client.get(f"naive:{item}"), self._token(item)
        if stored is not None:
            value, saved_with = json.loads(stored)
            if saved_with == token:
                return [*value]
        value = self._compute(item)
        self._client.set(f"naive:{item}", json.dumps([value, self._token(item)]), ex=300)
        return [*value]

    def invalidate(self, how: str, item: int) -> bool:
        self._client.set(f"naive:tag:{item}", secrets.token_hex(8), ex=300)
        return True

    def _token(self, item: int) -> str:
        return str(self._client.get(f"naive:tag:{item}"))


CONTENDERS: dict[str, Callable[[Settings, Compute], Contender]] = {
    "ours": Ours,
    "set of keys": SetOfKeys,
    "token at save": TokenAtSave,
}
