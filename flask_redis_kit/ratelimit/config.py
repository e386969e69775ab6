"""The settings ``REDIS_RATELIMIT_…``."""

from __future__ import annotations

from dataclasses import dataclass

from flask_redis_kit.core.config import FeatureConfig
from flask_redis_kit.core.failure import OnError


@dataclass(frozen=True, slots=True)
class RateLimitConfig(FeatureConfig):
    """What the rate limits of one application do.

    ``on_error``  when the server can't be asked: "open" lets the request pass uncounted and logs a
                  warning, "closed" answers 503, "raise" raises the server's error.
    """

    on_error: OnError = "open"
