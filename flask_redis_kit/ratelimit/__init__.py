"""Rate limits: an exact sliding window, all limits of a request in one script call."""

from flask_redis_kit.ratelimit.answer import RateLimitExceeded, RateLimitUnavailable
from flask_redis_kit.ratelimit.feature import RateLimitFeature, rate_limit
from flask_redis_kit.ratelimit.guard import client_ip
from flask_redis_kit.ratelimit.identity import RateLimitKeyError
from flask_redis_kit.ratelimit.limits import RateLimitResult

__all__ = [
    "RateLimitExceeded",
    "RateLimitFeature",
    "RateLimitKeyError",
    "RateLimitResult",
    "RateLimitUnavailable",
    "client_ip",
    "rate_limit",
]
