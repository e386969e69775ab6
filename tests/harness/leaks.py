"""The key-leak check: what the kit leaves in the server is declared, and goes away by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

import redis

PREFIX = b"frk:"


class Spec(Protocol):
    """The part of ``flask_redis_kit.core.keys.KeySpec`` that is needed here."""

    @property
    def pattern(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def ttl(self) -> str | None: ...


def declared_keyspace() -> tuple[Spec, ...]:
    """What the built-in features declare."""
    from flask_redis_kit.kit import builtin_keyspace  # late: the harness itself needs no kit

    return builtin_keyspace()


def unexpected_persistent_keys(client: redis.Redis, specs: Iterable[Spec]) -> list[bytes]:
    """The kit's keys (of the client's database) that no spec allows.

    Those are the keys without a TTL that no spec with ``ttl=None`` describes, and, TTL or not,
    those whose name and type match no spec at all.
    """
    allowed = [(_regex(spec.pattern), spec.type.encode(), spec.ttl is None) for spec in specs]
    unexpected = []
    for key in sorted(set(client.scan_iter(match=PREFIX + b"*", count=1000))):
        kind, ttl = client.type(key), client.pttl(key)
        if kind != b"none" and not any(
            regex.fullmatch(key) and kind == of_type and (ttl != -1 or may_persist)
            for regex, of_type, may_persist in allowed
        ):
            unexpected.append(key)
    return unexpected


def _regex(pattern: str) -> re.Pattern[bytes]:
    """``<placeholders>`` match anything, the rest matches itself."""
    parts = re.split(r"<[^<>]*>", pattern)
    return re.compile(b".+".join(re.escape(part.encode()) for part in parts), re.DOTALL)
