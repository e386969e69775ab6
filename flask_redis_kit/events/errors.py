"""Errors of the events; all derive from ``RedisKitError``."""

from __future__ import annotations

from redis.exceptions import ResponseError

from flask_redis_kit.core.errors import RedisKitError


class EventNameError(RedisKitError, ValueError):
    """A channel, user id or event type that can't be one: names it and says what may be."""


class EventDataError(RedisKitError, TypeError):
    """Data that is no JSON: names the place of the first bad value, e.g. ``data['when']``."""


class EventTooLarge(RedisKitError, ValueError):
    """An event larger than REDIS_EVENTS_PAYLOAD_LIMIT. ``size`` and ``limit`` in bytes."""

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class BrokenChannel(RedisKitError, ResponseError):
    """A channel's key in Redis holds something that is not the kit's. ``key`` names it."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key
