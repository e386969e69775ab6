"""One Redis extension for Flask: connection, cache, rate limits, sessions, events and a queue."""

from flask_redis_kit.cache import InvalidationError, cache_result
from flask_redis_kit.core.errors import (
    CircuitOpen,
    CodecError,
    ConfigError,
    CrossSlotError,
    NotInitialized,
    RedisKitError,
    ServerError,
    ServerUnavailable,
    TransactionError,
    TransactionMisused,
    TransactionPartial,
    TransactionRefused,
    TransactionUncertain,
)
from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.kit import RedisKit
from flask_redis_kit.ratelimit import RateLimitExceeded, rate_limit
from flask_redis_kit.sessions import RedisSessionInterface, SessionStoreUnavailable

__all__ = [
    "CircuitOpen",
    "CodecError",
    "ConfigError",
    "Context",
    "CrossSlotError",
    "Feature",
    "InvalidationError",
    "KeySpec",
    "NotInitialized",
    "RateLimitExceeded",
    "RedisKit",
    "RedisKitError",
    "RedisSessionInterface",
    "ServerError",
    "ServerUnavailable",
    "SessionStoreUnavailable",
    "TransactionError",
    "TransactionMisused",
    "TransactionPartial",
    "TransactionRefused",
    "TransactionUncertain",
    "cache_result",
    "rate_limit",
]
