"""What can go wrong with a session, as errors that are answers too."""

from __future__ import annotations

import math

from werkzeug.exceptions import Conflict, ServiceUnavailable

from flask_redis_kit.core.errors import RedisKitError, ServerUnavailable


class SessionStoreUnavailable(ServerUnavailable, ServiceUnavailable):
    """The session can't be read now: a 503 with ``Retry-After``, raised where it is read.

    Handlers of ``redis.RedisError``, ``ServerUnavailable`` and 503 see it. What the visitor sees
    names no server; ``str(error)`` does.
    """

    def __init__(self, message: str, *, address: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, address=address)
        self.description = ServiceUnavailable.description
        self.retry_after = max(1, math.ceil(retry_after))
        self._message = message

    def __str__(self) -> str:
        return self._message


class SessionBusy(RedisKitError, ServiceUnavailable):
    """Others had the session for themselves for the whole wait: a 503 with ``Retry-After``."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.description = ServiceUnavailable.description
        self.retry_after = retry_after
        self._message = message

    def __str__(self) -> str:
        return self._message


class SessionInterrupted(RedisKitError, Conflict):
    """The session ended while this request was changing it; the changes were dropped.

    Raised by ``commit()``, where handlers see it as a 409, and at the end of a request, where Flask
    makes a 500 of every error: ``original_exception`` is this one. ``session``: the hashed id.
    """

    def __init__(self, message: str, *, session: str) -> None:
        super().__init__(message)
        self.description = Conflict.description
        self.session = session
        self._message = message

    def __str__(self) -> str:
        return self._message
