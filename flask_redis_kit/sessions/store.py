"""How sessions lie in the server: one hash each, every change one script on one key.

``frk:{<ns>:<hash>}:session:h:<hash>``, where hash is the SHA-256 of the id. A field of the session
is a field of the hash; those that begin with NUL are ours: ``\\0c`` the incarnation, ``\\0u`` the
user, ``\\0x`` the tombstone of a session that has ended.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeVar

from redis.exceptions import ResponseError

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.exchange import Exchange, Outcome, Reply, pairs
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.core.script import Script
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.sessions.changes import PERMANENT, Changes
from flask_redis_kit.sessions.signals import session_interrupted, session_unreadable

T = TypeVar("T")
log = logging.getLogger("flask_redis_kit.sessions")

FEATURE: Final = "sessions"
INCARNATION: Final = b"\0c"
USER: Final = b"\0u"
TOMBSTONE: Final = b"\0x"
ROTATED: Final = b"r"
DESTROYED: Final = b"d"
GRACE: Final = 60
"""How long a tombstone stays, in seconds."""

SAVE: Final = Script("flask_redis_kit.sessions", "lua/save.lua")
CREATE: Final = Script("flask_redis_kit.sessions", "lua/create.lua")
PRUNE: Final = Script("flask_redis_kit.sessions", "lua/prune.lua")
DESTROY: Final = Script("flask_redis_kit.sessions", "lua/destroy.lua")
_WARNED_AT_MOST = 1000


class Loaded(NamedTuple):
    """What lies under an id.

    ``fields``       encoded, by name; empty if there is no session.
    ``incarnation``  None: no session.
    ``seconds``      how long it still lives, 0 if that is not known.
    ``rotated``      there is none because it got another id a moment ago.
    """

    fields: Mapping[str, bytes]
    incarnation: bytes | None
    seconds: float
    rotated: bool


NOTHING: Final = Loaded({}, None, 0.0, False)


class Created(NamedTuple):
    """What came of ``SessionStore.create``; ``other``: the incarnation that was there already."""

    created: bool
    other: bytes | None


class Pruned(IntEnum):
    """What came of ``SessionStore.prune``."""

    GONE = 0
    GOES_ON = 1
    ENDED = 2


class SessionStore:
    """The sessions of one application: the exchanges that load and change them. Thread-safe."""

    def __init__(self, wire: Wire, keys: KeyBuilder, codec: Codec) -> None:
        self.wire = wire
        self.codec = codec
        self._keys = keys
        self._warned: set[tuple[str, str | None]] = set()

    def load(self, session: str) -> Exchange[Loaded]:
        """Read the session with this hashed id. Read-only, so it may ride with anything."""
        key = self._key(session)
        commands = (("HGETALL", key), ("PTTL", key))
        return Exchange(FEATURE, key, commands, _loaded, read_only=True)

    def create(
        self, session: str, incarnation: bytes, seconds: float, fields: Mapping[bytes, bytes]
    ) -> Exchange[Created]:
        """Store a new session of these encoded fields, to live ``seconds``. Idempotent."""
        key = self._key(session)
        flat = [part for pair in fields.items() for part in pair]
        call = CREATE.call([key], [_ttl(seconds), INCARNATION, incarnation, *flat])
        return Exchange(FEATURE, key, (call,), _created, idempotent=True, deferrable=True)

    def save(
        self,
        session: str,
        incarnation: bytes,
        seconds: float,
        changed: Mapping[bytes, bytes],
        removed: Sequence[bytes],
    ) -> Exchange[bool]:
        """Write only these fields, and prolong the life to ``seconds``. Idempotent.

        False: the session with this incarnation is gone, and nothing was written.
        """
        key = self._key(session)
        flat = [part for pair in changed.items() for part in pair]
        call = SAVE.call([key], [incarnation, _ttl(seconds), len(changed), *flat, *removed])
        return Exchange(FEATURE, key, (call,), _yes, idempotent=True, deferrable=True)

    def prune(
        self,
        session: str,
        incarnation: bytes,
        seconds: float,
        changes: Changes,
        tombstone: bytes,
    ) -> Exchange[Pruned]:
        """Save, and end the session if nothing worth storing is left in it. Idempotent."""
        key = self._key(session)
        changed, removed = changes
        flat = [part for pair in changed.items() for part in pair]
        head = (incarnation, _ttl(seconds), GRACE, tombstone, PERMANENT, len(changed))
        call = PRUNE.call([key], [*head, *flat, *removed])
        return Exchange(FEATURE, key, (call,), _pruned, idempotent=True, deferrable=True)

    def touch(self, session: str, incarnation: bytes, seconds: float) -> Exchange[bool]:
        """Prolong the life to ``seconds``. A bare EXPIRE could prolong a tombstone instead."""
        return self.save(session, incarnation, seconds, {}, ())

    def destroy(self, session: str, tombstone: bytes) -> Exchange[bool]:
        """End the session, leaving a tombstone for a minute; False: there was none. Idempotent."""
        key = self._key(session)
        call = DESTROY.call([key], [GRACE, tombstone])
        return Exchange(FEATURE, key, (call,), _yes, idempotent=True, deferrable=True)

    def settled(self, session: str, outcome: Outcome[T], absent: T) -> T:
        """The value of an outcome; ``absent`` where the key holds another program's value."""
        error = outcome.error
        if isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE"):
            self.unreadable(session, None, error)
            return absent
        return outcome.result()

    def unreadable(self, session: str, field: str | None, error: Exception) -> None:
        """Tell, once for each session and field, that it counts as absent."""
        session_unreadable.send(self, session=session, field=field, error=error)
        if (session, field) in self._warned:
            return
        if len(self._warned) >= _WARNED_AT_MOST:
            self._warned.clear()
        self._warned.add((session, field))
        part = "is no session" if field is None else f"has an unreadable field {field!r}"
        log.warning("session %s %s, which counts as absent: %s", session, part, error)

    def interrupted(self, session: str) -> None:
        """Tell that a request's changes were dropped, as its session had ended."""
        log.info("session %s ended while a request was changing it: changes dropped", session)
        session_interrupted.send(self, session=session)

    def _key(self, session: str) -> str:
        return self._keys.key(session, "session", "h", session)


def _ttl(seconds: float) -> int:
    return max(1, math.ceil(seconds))


def _loaded(replies: list[Reply]) -> Loaded:
    stored = pairs(replies[0])
    incarnation = stored.get(INCARNATION)
    if incarnation is None:
        return NOTHING._replace(rotated=stored.get(TOMBSTONE, b"").startswith(ROTATED))
    fields: dict[str, bytes] = {}
    for field, value in stored.items():
        if field[:1] == b"\0":
            continue
        try:
            fields[field.decode()] = value
        except UnicodeDecodeError:
            continue  # no name of ours
    return Loaded(fields, incarnation, max(0, replies[1]) / 1000, False)


def _created(replies: list[Reply]) -> Created:
    other = replies[0] if isinstance(replies[0], bytes) else None
    return Created(replies[0] == 1, other)


def _pruned(replies: list[Reply]) -> Pruned:
    return Pruned(replies[0])


def _yes(replies: list[Reply]) -> bool:
    return bool(replies[0])
