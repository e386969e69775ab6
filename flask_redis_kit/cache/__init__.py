"""The cache: tagged, never stale after an invalidation, one round trip a hit."""

from flask_redis_kit.cache.decorator import cache_result
from flask_redis_kit.cache.errors import InvalidationError
from flask_redis_kit.cache.feature import CacheFeature
from flask_redis_kit.cache.identity import register_key_type

__all__ = ["CacheFeature", "InvalidationError", "cache_result", "register_key_type"]
