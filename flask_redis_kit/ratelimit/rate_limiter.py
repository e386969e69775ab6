"""The limiter of the guide "How to Use Flask with Redis", on the kit's engine."""

from __future__ import annotations

import math
import time
from datetime import timedelta

from flask_redis_kit.ratelimit.decorator import current_gate
from flask_redis_kit.ratelimit.identity import hashed
from flask_redis_kit.ratelimit.limits import Limit

SCOPE = "is_allowed"


class RateLimiter:
    """``is_allowed(key, limit, window)``: exact, atomic, and a refusal locks nobody out.

    ``redis_client``  is what the guide gives it (``g.redis``). It is not used: requests are counted
                      where all limits of the current application are.
    """

    def __init__(self, redis_client: object = None) -> None:
        self.redis = redis_client

    def is_allowed(
        self, key: str, limit: int, window_seconds: float | timedelta
    ) -> tuple[bool, int, int]:
        """Count one request for ``key``, if it fits: (allowed, remaining, reset). One round trip.

        ``reset`` is the time, in whole seconds since 1970, when the next unit frees. A request that
        is refused is not counted. When the server is away ``REDIS_RATELIMIT_ON_ERROR`` decides.
        """
        limiter = current_gate().limiter
        tag = hashed(key, source="key= of is_allowed()")
        claim = limiter.claim(Limit.checked(limit, window_seconds), tag, SCOPE)
        decision = limiter.acquire([claim])
        result = decision.tightest
        wait = result.reset_after if decision.allowed else result.retry_after
        remaining = result.remaining if decision.allowed else 0
        return decision.allowed, remaining, math.ceil(time.time() + wait)
