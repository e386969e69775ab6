"""The cache through a failover that loses invalidations: the log's clock is set back."""

from __future__ import annotations

from functools import partial

import pytest
from flask import Flask

from flask_redis_kit import RedisKit
from flask_redis_kit.cache import signals
from flask_redis_kit.core.errors import ServerError
from tests.harness.sentinels import SentinelGroup
from tests.harness.servers import Server
from tests.waiting import wait_until

LEASE = 0.2


def cut_off(master: Server) -> None:
    """Let nothing more reach the replicas: they are cut, and can't log in again."""
    with master.client() as client:
        client.config_set("requirepass", "for nobody")
        client.client_kill_filter(_type="slave")


def is_invalidated(kit: RedisKit, *tags: str) -> bool:
    try:
        kit.cache.invalidate_tags(*tags)
    except (ServerError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("loses", [True, False], ids=["writes are lost", "nothing is lost"])
def test_a_computation_that_outlives_its_lease_and_its_server_is_not_stored(
    sentinels: SentinelGroup, loses: bool
) -> None:
    """What was invalidated since may look older than it, on the clock of the new master."""
    app = Flask("failing-over")
    app.config.update(REDIS_URL=sentinels.url, REDIS_CACHE_LEASE_SECONDS=LEASE)
    kit = RedisKit(app, features=("cache",))
    versions = ["old"]
    refused: list[str] = []

    def hear(_: object, reason: str, **_more: object) -> None:
        refused.append(reason)

    signals.refused.connect(hear, app)

    @kit.cache.cache_result(ttl=600, tags=["u"])
    def value() -> str:
        version = versions[-1]
        if version == "old":
            fail_over()
        return version

    def fail_over() -> None:
        old = sentinels.kill_master()
        sentinels.wait_until_switched(old)
        wait_until(lambda: is_invalidated(kit, "u"), timeout=30, what="the new master")
        versions.append("new")
        for n in range(5):  # its clock goes on, beyond the moment that was lost
            wait_until(partial(is_invalidated, kit, f"other:{n}"), timeout=30)

    with app.app_context():
        kit.cache.invalidate_tags("warm")
        master = sentinels.master()
        with master.client() as client:
            assert client.wait(2, 30_000) == 2
        if loses:
            cut_off(master)
            for n in range(4):
                kit.cache.invalidate_tags(f"lost:{n}")
        assert value() == "old"
        assert refused  # "lease-lost"; or "failure", if the group is not at rest yet
        assert value() == "new"
        assert value() == "new"
        kit.close()
    sentinels.wait_until_stable()
