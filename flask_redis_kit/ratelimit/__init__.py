"""Rate limits: an exact sliding window, all limits of a request in one script call."""

from flask_redis_kit.ratelimit.feature import RateLimitExceeded, RateLimitFeature, rate_limit

__all__ = ["RateLimitExceeded", "RateLimitFeature", "rate_limit"]
