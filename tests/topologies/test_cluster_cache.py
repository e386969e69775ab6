"""The cache while a slot is half way to another node: values may not be stored, nothing fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from flask import Flask

from flask_redis_kit import RedisKit
from tests.cache.flying import Value
from tests.harness.clusters import ClusterGroup, slot_of
from tests.harness.servers import Server


def new() -> str:
    return "new"


def fails() -> str:
    raise LookupError


def leases(slot: int, *nodes: Server) -> list[bytes]:
    """The leases in a slot, on whichever of these nodes."""
    found: list[bytes] = []
    for node in nodes:
        with node.client() as client:
            found += client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
    return [key for key in found if b":cache:l:" in key]


@pytest.fixture
def kit(cluster: ClusterGroup) -> Iterator[RedisKit]:
    app = Flask("shop")
    app.config["REDIS_URL"] = cluster.url
    kit = RedisKit(app, features=("cache",))
    with app.app_context():
        yield kit
        kit.close()


@pytest.mark.parametrize("moved", ["value", "log", "lease"])
def test_a_value_is_renewed_or_served_while_its_keys_are_on_two_nodes(
    moved: str, cluster: ClusterGroup, kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    value = Value(kit)
    value.get(lambda: "old")
    slot = slot_of(value.place.value)
    source = cluster.primary_of_slot(slot)
    target = next(node for node in cluster.primaries() if node is not source)
    migration = cluster.begin_migration(slot, target)

    def moving() -> str:
        migration.move(getattr(value.place, moved))
        return "new"

    assert value.get(moving, refresh=True) == "new"
    assert not leases(slot, source, target), "nobody has to wait for it to end"
    found = value.seen()
    assert found is None or found.value in ("old", "new")
    kit.cache.invalidate_tags("t")
    assert value.seen() is None, "an invalidation reaches the log wherever it is"
    assert value.get(new) == "new"
    migration.move_keys(100)
    migration.finish()
    assert value.get(new) == "new"
    assert value.get(fails) == "new"
    assert all("goes on without" in message for message in caplog.messages)


class Halting:
    """What an invalidation is sent by: halts when only the first shard named has heard of it."""

    def __init__(self, context: Any, first: str, halt: Callable[[], None]) -> None:
        self._context = context
        self._first = first
        self._halt = halt

    def send_many(self, exchanges: Sequence[Any]) -> list[Any]:
        outcomes: dict[str, Any] = {}
        for keys in ({self._first}, {each.key for each in exchanges} - {self._first}):
            part = [each for each in exchanges if each.key in keys]
            sent = zip(part, self._context.send_many(part), strict=True)
            outcomes |= {each.key: outcome for each, outcome in sent}
            halt, self._halt = self._halt, lambda: None
            halt()
        return [outcomes[each.key] for each in exchanges]


@pytest.mark.parametrize("how", ["tags", "prefix", "clear"])
def test_a_value_made_of_another_shards_old_one_is_not_served_after_the_invalidation(
    kit: RedisKit, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    truth = ["old"]

    @kit.cache.cache_result(key_prefix="parts", tags=["part"])
    def inner(n: int) -> str:
        return f"{truth[0]} {n}"

    @kit.cache.cache_result(key_prefix="parts")
    def outer(n: int) -> str:
        return f"<{inner(n)}>"

    engine = kit.cache.engine()
    shards = engine.shards.logs()

    def shard_of(key: str) -> str:
        return next(log for log in shards if log.partition("}")[0] == key.partition("}")[0])

    n = next(n for n in range(99) if shard_of(outer.cache_key(n)) != shard_of(inner.cache_key(n)))
    assert inner(n) == f"old {n}"

    def compute_meanwhile() -> None:
        truth[0] = "new"
        outer(n)

    halting = Halting(engine.context, shard_of(outer.cache_key(n)), compute_meanwhile)
    monkeypatch.setattr(engine.invalidation, "_context", halting)
    if how == "tags":
        kit.cache.invalidate_tags("part")
    elif how == "prefix":
        kit.cache.invalidate_prefix("parts")
    else:
        kit.cache.clear()
    assert outer(n) == f"<new {n}>"
