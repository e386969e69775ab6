"""What the cache did, told to those who listen (blinker) and counted by prefix.

The sender is the application, so ``hit.connect(listener, app)`` hears of one application only.
``subject`` is what the value belongs to: a ``key_prefix``, the name of a function,
``fragment:name`` or ``(by hand)``; never a key, never a value. A listener runs before the caller
gets its answer.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from blinker import Namespace

from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.core.feature import Context

Outcome = Literal["hit", "miss", "stale", "renewal", "stored", "refused"]
Reason = Literal[
    "session",  # the session was read: it may be one user's
    "authorization",  # the request says who asks
    "set-cookie",
    "vary",  # by a header that is not in the key
    "cache-control",  # the response says private or no-store
    "status",  # of the response
    "stream",
    "query",  # too large to be a key
    "body",  # of the request: it can be part of no key
    "size",  # over REDIS_CACHE_MAX_BYTES
    "encoding",  # the codec doesn't know the value
    "when",  # the decorator's when= said no
    "ttl",  # its ttl= said none
    "tags",  # more than 32, with those of the values it is made of
    "stale",  # it is made of a value that was invalidated softly, and has no grace
    "error",  # a function in the decorator failed
    "invalidated",  # while it was computed
    "lease-lost",  # another one computes it by now
    "failure",  # the server
]
BY_HAND = "(by hand)"
BYTES, MILLISECONDS = "bytes", "milliseconds"
"""Counted like outcomes: what was stored, and how long computing it took."""

_signals = Namespace()

hit = _signals.signal("redis-kit-cache-hit")
"""A valid, fresh value was found. ``subject``."""

miss = _signals.signal("redis-kit-cache-miss")
"""There was no valid value. ``subject``."""

stale = _signals.signal("redis-kit-cache-stale")
"""A value past its time was served, within its grace period. ``subject``."""

renewal = _signals.signal("redis-kit-cache-renewal")
"""A value past its time was found, and whoever has found it computes the next one. ``subject``."""

stored = _signals.signal("redis-kit-cache-stored")
"""A value was stored. ``subject``; ``size`` in bytes; ``milliseconds``: how long computing it took,
0 for a value by hand."""

refused = _signals.signal("redis-kit-cache-refused")
"""A value was computed, or set, and not stored. ``subject``; ``reason``: one of ``Reason``."""

_by_outcome = {
    "hit": hit,
    "miss": miss,
    "stale": stale,
    "renewal": renewal,
    "stored": stored,
    "refused": refused,
}


class Reporter(Protocol):
    """Whoever reports: the engine, or what else has the feature's context."""

    @property
    def context(self) -> Context[CacheConfig]: ...


def report(
    engine: Reporter,
    subject: str,
    outcome: Outcome,
    reason: Reason | None = None,
    *,
    size: int = 0,
    milliseconds: int = 0,
) -> None:
    """Count an outcome for ``subject``, and tell who listens. No I/O; under a microsecond.

    ``size`` (bytes) and ``milliseconds`` (of computing) are those of a stored value.
    """
    context = engine.context
    add = context.counters.add
    add(subject, outcome if reason is None else f"{outcome}:{reason}")
    if size:
        add(subject, BYTES, size)
    if milliseconds:
        add(subject, MILLISECONDS, milliseconds)
    signal = _by_outcome[outcome]
    if signal.receivers:
        facts: dict[str, Any] = {"subject": subject}
        if outcome == "stored":
            facts |= {"size": size, "milliseconds": milliseconds}
        elif reason is not None:
            facts["reason"] = reason
        signal.send(context.app, **facts)
