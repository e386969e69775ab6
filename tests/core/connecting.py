"""Connectors and small exchanges for the tests of the core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask_redis_kit.core.config import CoreConfig
from flask_redis_kit.core.connectors import Connectors
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.routing import wire_to as wire_over
from flask_redis_kit.core.wire import Wire


@contextmanager
def wire_to(url: str, **core: Any) -> Iterator[Wire]:
    """A wire to the server at ``url``; ``core`` are fields of ``CoreConfig``."""
    from pathlib import Path

    connectors = Connectors(CoreConfig(url=url, **core), Path("/nonexistent"))
    try:
        yield wire_over(connectors.get())
    finally:
        connectors.close()


def get(key: str, feature: str = "test") -> Exchange[bytes | None]:
    """Read a string."""
    return Exchange(feature, key, [("GET", key)], first, read_only=True)


def put(key: str, value: str, feature: str = "test") -> Exchange[bytes]:
    """Write a string; may be sent again."""
    return Exchange(feature, key, [("SET", key, value)], first, idempotent=True)


def add(key: str) -> Exchange[int]:
    """Count up; must not be sent again."""
    return Exchange("test", key, [("INCR", key)], first)
