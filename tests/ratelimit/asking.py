"""Claims on keys of a test's own, without an application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.ratelimit import scripts
from flask_redis_kit.ratelimit.limits import Claim, Limit
from flask_redis_kit.ratelimit.scripts import Verdict

Ask = tuple[str, int, int, int]
"""A key, its limit, the window in microseconds, the cost in units."""


def claim(key: str, limit: int, window_us: int, cost: int = 1, **fields: Any) -> Claim:
    """A claim on ``key``; ``fields`` are those of the limit."""
    return Claim(Limit(limit, window_us, **fields), "0", "test", cost, key)


def acquire(asks: Sequence[Ask], **fields: Any) -> Exchange[Verdict]:
    """Count under all of these, or under none."""
    claims = [claim(*ask, **fields) for ask in asks]
    return scripts.acquire(claims, scripts.new_token())


def peek(asks: Sequence[Ask], **fields: Any) -> Exchange[Verdict]:
    """Look at all of these."""
    return scripts.peek([claim(*ask, **fields) for ask in asks])
