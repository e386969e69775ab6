"""Server-side sessions: loaded when read, saved field by field, hashed ids."""

from flask_redis_kit.sessions.feature import SessionsFeature
from flask_redis_kit.sessions.interface import RedisSessionInterface, SessionStoreUnavailable
from flask_redis_kit.sessions.session import RedisSession

__all__ = ["RedisSession", "RedisSessionInterface", "SessionStoreUnavailable", "SessionsFeature"]
