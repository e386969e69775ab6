"""The cache while a slot is half way to another node: values may not be stored, nothing fails."""

from __future__ import annotations

from collections.abc import Iterator

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
