"""Whom a limit counts for: a key of the user's, hashed; by default the client's address."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from uuid import UUID

from flask_redis_kit.core.errors import RedisKitError
from flask_redis_kit.ratelimit.exemptions import Exempt

Identity = str | int | bytes | UUID | tuple["Identity", ...]
"""What a ``key_func`` may return; ``EXEMPT``, too."""

KeyFunc = Callable[[], Identity | Exempt]


class RateLimitKeyError(RedisKitError, ValueError):
    """A limit has no key to count under: nothing was counted, and the request did not pass."""


def hashed(identity: object, *, source: str) -> str:
    """32 hex digits for an identity: no two identities share them, whatever characters they hold.

    Text, its UTF-8 bytes and, for a number, its decimal digits are the same identity, as ids change
    their type on the way through URLs, sessions and JSON. ``("a", "b")`` is none of ``"ab"``,
    ``"a/b"`` or ``("ab",)``. ``source`` says in the error where the identity came from.
    """
    return hashlib.blake2b(_encoded(identity, source), digest_size=16).hexdigest()


@lru_cache(maxsize=4096)
def hashed_address(client: str) -> str:
    """``hashed`` for the address of a client; the latest are kept, as they come again."""
    return hashed(client, source="client_ip")


def _encoded(identity: object, source: str) -> bytes:
    if isinstance(identity, tuple):
        return _encoded_tuple(identity, source)
    data = _scalar(identity, source)
    if not data:
        raise _missing(identity, source)
    return b"s" + data


def _encoded_tuple(parts: tuple[object, ...], source: str) -> bytes:
    if all(part in ("", b"", ()) for part in parts):
        raise _missing(parts, source)
    encoded = []
    for part in parts:
        nested = isinstance(part, tuple)
        data = _encoded(part, source) if nested else b"s" + _scalar(part, source)
        encoded.append(b"%d:%b" % (len(data), data))
    return b"t" + b"".join(encoded)


def _scalar(identity: object, source: str) -> bytes:
    if identity is None:
        raise _missing(identity, source)
    if isinstance(identity, str):
        return identity.encode("utf-8", "surrogatepass")
    if isinstance(identity, bytes):
        return identity
    if isinstance(identity, (int, UUID)) and not isinstance(identity, bool):
        return str(identity).encode()
    close = getattr(identity, "close", None)
    if hasattr(identity, "__await__") and close is not None:
        close()  # a coroutine nobody awaits warns when it is collected
    raise RateLimitKeyError(
        f"{source} gave a {type(identity).__name__}; a rate limit counts under a str, int, bytes, "
        "UUID or a tuple of those."
    )


def _missing(identity: object, source: str) -> RateLimitKeyError:
    return RateLimitKeyError(
        f"{source} gave {identity!r}, so there is nobody to count for. Return something for every "
        "request, for example the address for anonymous users: g.user_id or client_ip()."
    )
