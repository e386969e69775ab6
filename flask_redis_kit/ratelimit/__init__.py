"""Rate limits: an exact sliding window, all limits of a request in one script call."""

from flask_redis_kit.ratelimit.answer import RateLimitExceeded, RateLimitUnavailable
from flask_redis_kit.ratelimit.checked import Checked
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.decorator import client_ip, concurrency_limit, rate_limit
from flask_redis_kit.ratelimit.exemptions import EXEMPT
from flask_redis_kit.ratelimit.feature import RateLimitFeature
from flask_redis_kit.ratelimit.identity import RateLimitKeyError
from flask_redis_kit.ratelimit.limits import RateLimitResult
from flask_redis_kit.ratelimit.rate_limiter import RateLimiter
from flask_redis_kit.ratelimit.route import RateLimitMisplaced

__all__ = [
    "EXEMPT",
    "Checked",
    "Decision",
    "RateLimitExceeded",
    "RateLimitFeature",
    "RateLimitKeyError",
    "RateLimitMisplaced",
    "RateLimitResult",
    "RateLimitUnavailable",
    "RateLimiter",
    "client_ip",
    "concurrency_limit",
    "rate_limit",
]
