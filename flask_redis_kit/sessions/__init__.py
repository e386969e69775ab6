"""Server-side sessions: loaded when read, saved field by field, revocable."""

from flask_redis_kit.sessions.feature import RedisSessionInterface, SessionsFeature

__all__ = ["RedisSessionInterface", "SessionsFeature"]
