"""Whether a server keeps what it is given: the features' warnings for ``flask redis info``."""

from __future__ import annotations

from collections.abc import Iterator

from flask_redis_kit.core import health
from flask_redis_kit.core.exchange import Exchange, pairs
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.wire import Wire


def eviction_warnings(wire: Wire, lost: str, cure: str) -> Iterator[str]:
    """For each server that throws keys away when it is full: what is ``lost``, and the ``cure``."""
    for found in health.check(wire):
        if found.ok and found.eviction_policy not in (None, "noeviction"):
            yield (
                f"{found.address} evicts keys when its memory is full (maxmemory-policy "
                f"{found.eviction_policy}): {lost}. Set it to noeviction, or {cure}."
            )


def persistence_warnings(wire: Wire, lost: str) -> Iterator[str]:
    """For each server that writes nothing to disk: what a restart loses."""
    for found in health.check(wire):
        if found.ok and found.append_only_file is False and saves(wire) is False:
            yield (
                f"{found.address} writes nothing to disk: a restart loses {lost}. Set "
                "appendonly yes."
            )


def saves(wire: Wire) -> bool | None:
    """Whether the server (of a Cluster, any one of it) makes snapshots; None if it won't say."""
    asked: Exchange[dict[bytes, bytes]] = Exchange(
        "health", "", [("CONFIG", "GET", "save")], lambda r: pairs(r[0]), read_only=True
    )
    try:
        found = wire.send(asked)
    except FAILURES:  # many hosted servers don't allow CONFIG
        return None
    return bool(found[b"save"]) if b"save" in found else None
