"""A value computed once for all who ask, and kept as it is: no arguments, no rules of HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask_redis_kit.cache.flight import Call, Decode, Flights, Hit
from flask_redis_kit.cache.flow import COMPUTE, Flow
from flask_redis_kit.cache.freshness import Lifetime
from flask_redis_kit.cache.payload import Payload

log = logging.getLogger("flask_redis_kit.cache")
Pack = Callable[[Any], tuple[Payload | None, tuple[bytes, ...]]]
"""Makes of a value what is stored (None: nothing is), and its tags beyond those of the call."""


def computation(
    flights: Flights, call: Call, decode: Decode, lifetime: Lifetime, pack: Pack
) -> Flow[Any]:
    """The value from the cache, or computed and stored. One round trip for a hit, three else.

    While one computes, others wait, or are served the old value in its grace period; so is the one
    whose computation raises.
    """
    found = yield from flights.obtain(call, decode)
    if isinstance(found, Hit):
        return found.value
    try:
        value = yield COMPUTE
    except Exception:
        stale = flights.rescue(found)
        yield from flights.close(found, None, lifetime)
        if stale is None:
            raise
        log.warning("A computation has failed; its old value is served", exc_info=True)
        return stale.value
    except BaseException:
        yield from flights.close(found, None, lifetime)
        raise
    payload, tags = (None, ()) if found.token is None else pack(value)
    yield from flights.close(found, payload, lifetime, tags)
    return value
