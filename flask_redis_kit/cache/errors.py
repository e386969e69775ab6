"""What the cache raises by itself."""

from __future__ import annotations

from flask_redis_kit.core.errors import RedisKitError


class InvalidationError(RedisKitError):
    """An invalidation did not reach the server, so old values may still be served.

    ``tags`` are the names that were to be invalidated (empty: all of them). Repeat it when the
    server is back; the cause is in ``__cause__``.
    """

    def __init__(self, message: str, *, tags: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.tags = tags
