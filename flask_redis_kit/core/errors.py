"""Every error the kit raises.

::

    RedisKitError
    ├── ConfigError (ValueError)       a setting is wrong: names key, value and cure
    ├── NotInitialized (RuntimeError)  no app, or init_app was not called
    ├── CodecError (TypeError)         a value that can't be stored, bytes that can't be read
    ├── EmbeddedError (RuntimeError)   the embedded server can't be found, started or joined
    ├── ServerError (redis.ConnectionError)         the server can't serve us
    │   ├── ServerUnavailable                       nothing answers, or the connection broke
    │   │   ├── ConnectTimeout (redis.TimeoutError) no connection in time
    │   │   ├── ReplyTimeout (redis.TimeoutError)   connected, but no reply in time
    │   │   ├── PoolExhausted                       all connections are in use
    │   │   └── CircuitOpen                         it failed just now; not asked again yet
    │   ├── ServerRefused                           wrong password, user, database or TLS
    │   └── ServerTooOld                            older than Redis 7.0 or Valkey 7.2
    ├── CrossSlotError (ValueError)    keys of one atomic step lie in different Cluster slots
    └── TransactionError               a transaction that can't be, or that failed
        ├── TransactionMisused (RuntimeError)         nested, on two servers, read too early
        ├── TransactionRefused                        refused as a whole: nothing was applied
        ├── TransactionPartial                        a part failed as it ran; the rest stands
        └── TransactionUncertain (ServerUnavailable)  the reply was lost: applied or not

Errors of one feature live in that feature and derive from ``RedisKitError`` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import redis.exceptions


class RedisKitError(Exception):
    """Base of all errors of the kit."""


class ConfigError(RedisKitError, ValueError):
    """A setting is wrong. ``key`` is the name of the setting, where there is one."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class NotInitialized(RedisKitError, RuntimeError):
    """The kit was used without an application that it was initialised with."""


class CodecError(RedisKitError, TypeError):
    """A value that the codec doesn't know, or stored bytes that it can't read."""


class EmbeddedError(RedisKitError, RuntimeError):
    """The embedded server can't be found, started or joined."""


class ServerError(RedisKitError, redis.exceptions.ConnectionError):
    """The server can't serve us. ``address`` names it without any secret."""

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class ServerUnavailable(ServerError):
    """Nothing answers at the address, or the connection broke.

    ``maybe_sent``: the command may have reached the server.
    """

    maybe_sent = False


class ConnectTimeout(ServerUnavailable, redis.exceptions.TimeoutError):
    """No connection in time: nothing was sent."""


class ReplyTimeout(ServerUnavailable, redis.exceptions.TimeoutError):
    """The server took the command but its reply did not come in time: it may have run."""

    maybe_sent = True


class PoolExhausted(ServerUnavailable):
    """All connections of the pool were in use for the whole wait."""


class CircuitOpen(ServerUnavailable):
    """The server failed just now, so it is not asked again before ``retry_after`` seconds."""

    def __init__(self, message: str, *, address: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, address=address)
        self.retry_after = retry_after


class ServerRefused(ServerError):
    """The server is there and says no: password, user, database or TLS."""


class ServerTooOld(ServerError):
    """The server is older than the kit supports."""


class CrossSlotError(RedisKitError, ValueError):
    """Keys that must change together lie in different Cluster slots."""


class TransactionError(RedisKitError):
    """A transaction that can't be, or that failed."""


class TransactionMisused(TransactionError, RuntimeError):
    """Something that a transaction can't do; the message names the cure. Nothing was sent."""


class TransactionRefused(TransactionError):
    """The server refused the transaction as a whole: nothing was applied.

    The cause is the server's own error.
    """


class Settled(Protocol):
    """What came of one call in a transaction."""

    @property
    def error(self) -> Exception | None:
        """Why it failed; None if it didn't."""

    def result(self) -> object:
        """Its value; raises its error."""


class TransactionPartial(TransactionError):
    """A part failed while the transaction ran; the rest was applied: Redis rolls nothing back.

    ``applied``, ``failed``  the calls of the block, by name; each in the order of the block.
    ``outcomes``             what came of every call, in the order of the block.
    """

    def __init__(
        self,
        message: str,
        *,
        applied: Sequence[str],
        failed: Sequence[str],
        outcomes: Sequence[Settled],
    ) -> None:
        super().__init__(message)
        self.applied = tuple(applied)
        self.failed = tuple(failed)
        self.outcomes = tuple(outcomes)


class TransactionUncertain(TransactionError, ServerUnavailable):
    """The connection was lost before the reply came: all of it was applied, or nothing."""

    maybe_sent = True
