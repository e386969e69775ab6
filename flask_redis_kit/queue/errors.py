"""Errors of the queue."""

from __future__ import annotations

import redis.exceptions

from flask_redis_kit.core.errors import RedisKitError


class TaskError(RedisKitError, ValueError):
    """A task that can't be declared or enqueued like this."""


class QueueDamaged(RedisKitError, redis.exceptions.ResponseError):
    """A key of a queue holds a value of another type: somebody else writes there.

    ``queue`` is its name.
    """

    def __init__(self, message: str, *, queue: str) -> None:
        super().__init__(message)
        self.queue = queue


class LeaseLost(RedisKitError, RuntimeError):
    """This worker counted as dead for a while, and the job was given to another one."""
