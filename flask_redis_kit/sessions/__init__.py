"""Server-side sessions: loaded when read, saved field by field, hashed ids."""

from flask_redis_kit.sessions.bearer import RedisSessionManager
from flask_redis_kit.sessions.devices import SessionInfo
from flask_redis_kit.sessions.errors import (
    SessionBusy,
    SessionInterrupted,
    SessionStoreUnavailable,
)
from flask_redis_kit.sessions.feature import SessionsFeature
from flask_redis_kit.sessions.interface import RedisSessionInterface
from flask_redis_kit.sessions.session import RedisSession
from flask_redis_kit.sessions.signals import (
    session_adopted,
    session_created,
    session_destroyed,
    session_interrupted,
    session_rejected,
    session_revoked,
    session_rotated,
    session_unreadable,
)

__all__ = [
    "RedisSession",
    "RedisSessionInterface",
    "RedisSessionManager",
    "SessionBusy",
    "SessionInfo",
    "SessionInterrupted",
    "SessionStoreUnavailable",
    "SessionsFeature",
    "session_adopted",
    "session_created",
    "session_destroyed",
    "session_interrupted",
    "session_rejected",
    "session_revoked",
    "session_rotated",
    "session_unreadable",
]
