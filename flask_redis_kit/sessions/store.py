"""How sessions lie in the server: one hash each, every change one script on one key.

``frk:{<ns>:<hash>}:session:h``, where hash is the SHA-256 of the id. A field of the session is a
field of the hash; those that begin with NUL are ours, see ``record.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.counters import FeatureCounters
from flask_redis_kit.core.exchange import Exchange, Outcome, Reply
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.core.script import Arg, Script
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.sessions import record
from flask_redis_kit.sessions.changes import NO_CHANGES, PERMANENT, Changes
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.record import DEADLINE, GRACE, INCARNATION, Loaded
from flask_redis_kit.sessions.roll import UserIndex
from flask_redis_kit.sessions.witness import Witness

FEATURE: Final = "sessions"

SAVE: Final = Script("flask_redis_kit.sessions", "lua/save.lua")
WRITE: Final = Script("flask_redis_kit.sessions", "lua/write.lua")
CREATE: Final = Script("flask_redis_kit.sessions", "lua/create.lua")
DESTROY: Final = Script("flask_redis_kit.sessions", "lua/destroy.lua")
LOCK: Final = Script("flask_redis_kit.sessions", "lua/lock.lua")
UNLOCK: Final = Script("flask_redis_kit.sessions", "lua/unlock.lua")


class Created(NamedTuple):
    """What came of ``SessionStore.create``; ``other``: the incarnation that was there already."""

    created: bool
    other: bytes | None


class Saved(IntEnum):
    """What came of ``SessionStore.save``."""

    OVERTAKEN = -1
    """The lock that was to guard it is another's."""
    GONE = 0
    """The session with this incarnation is no more."""
    SAVED = 1
    ENDED = 2
    """Nothing worth storing was left in it."""


_AT_ONCE: Final = 3000
"""Fields that one command of a script can set: Lua's stack bounds its arguments."""
_SAVED: Final = {int(each): each for each in Saved}


class Lock(NamedTuple):
    """The lock of a session, as held; ``release``: give it back with this save."""

    token: str
    release: bool


class Predecessor(Protocol):
    """What kept the sessions before the kit, and may have some still; see ``moving.py``."""

    def load(self, sid: str) -> Exchange[Any]:
        """Read what it has under an id."""

    def settle(
        self,
        send: Callable[[Sequence[Exchange[Any]]], list[Outcome[Any]]],
        sid: str,
        found: Loaded,
        outcome: Outcome[Any],
    ) -> Loaded:
        """What a session is, by what both have of it."""

    def forget(self, sid: str) -> Exchange[bool]:
        """Remove what it has under an id."""


class SessionStore(Witness):
    """The sessions of one application: the exchanges that load and change them. Thread-safe."""

    def __init__(
        self,
        wire: Wire,
        keys: KeyBuilder,
        codec: Codec,
        config: SessionsConfig | None = None,
        counters: FeatureCounters | None = None,
    ) -> None:
        super().__init__(counters)
        self.wire = wire
        self.codec = codec
        self.config = SessionsConfig() if config is None else config
        self.identity = tuple(key.encode() for key in self.config.identity_keys)
        """The fields that say who the user is."""
        self.index = UserIndex(keys)
        self.predecessor: Predecessor | None = None
        self.stock: Any = None
        """Flask-Session's interface, where it is used in place of ours."""
        self.grace = GRACE
        """How long tombstones stay, in seconds."""
        if self.config.moves:  # what it has under the id must not come back
            self.grace = max(GRACE, whole(self.config.legacy_grace))
        self.moved_grace = self.grace
        """The same for sessions that were Flask-Session's: workers that run it may have stored one
        again for its whole life, which must not come back after that."""
        self._keys = keys

    def report(self) -> Exchange[None] | None:
        """What was counted, if it is time to send it along."""
        return None if self.counters is None else self.counters.due(self.wire)

    def load(self, session: str) -> Exchange[Loaded]:
        """Read the session with this hashed id. Read-only, so it may ride with anything."""
        key = self.key(session)
        commands = (("HGETALL", key), ("PTTL", key))
        return Exchange(FEATURE, key, commands, record.loaded, read_only=True)

    def glance(self, session: str) -> Exchange[Loaded]:
        """Read what the kit itself keeps of a session."""
        key = self.key(session)
        commands = (("HMGET", key, *record.OWN), ("PTTL", key))
        return Exchange(FEATURE, key, commands, record.glanced, read_only=True)

    def create(
        self, session: str, incarnation: bytes, seconds: float, fields: Mapping[bytes, bytes]
    ) -> Exchange[Created]:
        """Store a new session of these encoded fields, to live ``seconds``. Idempotent.

        It ends at the latest when its field ``DEADLINE`` says, or else after the application's
        ``SESSION_ABSOLUTE_TIMEOUT``.
        """
        key = self.key(session)
        most = self.config.absolute_timeout
        limit = 0 if most is None else whole(most)
        args: list[Arg] = [whole(seconds), limit, INCARNATION, incarnation]
        for pair in fields.items():
            args += pair
        call = CREATE.call([key], args)
        return Exchange(FEATURE, key, (call,), _created, idempotent=True, deferrable=True)

    def save(
        self,
        session: str,
        incarnation: bytes,
        seconds: float,
        changes: Changes,
        *,
        tombstone: bytes = b"",
        lock: Lock | None = None,
        moved: bytes = b"",
    ) -> Exchange[Saved]:
        """Write only these fields, and prolong the life to ``seconds``. Idempotent.

        ``tombstone``  if nothing worth storing is left, the session ends and leaves it.
        ``lock``       nothing is written once it is another's.
        ``moved``      nothing is written once its field ``MOVED`` is another one.
        """
        key = self.key(session)
        changed, removed = changes
        special = removed or tombstone or moved or lock is not None or DEADLINE in changed
        if not special and len(changed) <= _AT_ONCE:
            args: list[Arg] = [incarnation, whole(seconds)]
            for pair in changed.items():
                args += pair
            call = WRITE.call((key,), args)
            return Exchange(FEATURE, key, (call,), _saved, idempotent=True, deferrable=True)
        token, release = ("", 0) if lock is None else (lock.token, int(lock.release))
        keys = [key] if lock is None else [key, self._lock_key(session)]
        args = [incarnation, whole(seconds), token, release, tombstone]
        args += (self.grace, self.moved_grace, PERMANENT, moved, len(changed))
        for pair in changed.items():
            args += pair
        args += removed
        call = SAVE.call(keys, args)
        return Exchange(FEATURE, key, (call,), _saved, idempotent=True, deferrable=True)

    def touch(self, session: str, seconds: float) -> Exchange[Saved]:
        """Prolong the life of whatever lives there. A bare EXPIRE could prolong a tombstone."""
        return self.save(session, b"", seconds, NO_CHANGES)

    def destroy(
        self,
        session: str,
        tombstone: bytes,
        *,
        user: str | None = None,
        replaced: bool = False,
        incarnation: bytes = b"",
    ) -> Exchange[bool]:
        """End the session, leaving a tombstone for a minute; False: there was none. Idempotent.

        ``user``         only if it is this user's.
        ``replaced``     another session takes its place: a server too full for that leaves this
                         one.
        ``incarnation``  only if it is this one; else its tombstone stays as it is.
        """
        key = self.key(session)
        owner = b"" if user is None else record.owner_name(record.user_text(user))
        head = (self.grace, tombstone, owner, int(replaced))
        call = DESTROY.call([key], [*head, self.moved_grace, incarnation])
        return Exchange(FEATURE, key, (call,), _yes, idempotent=True, deferrable=True)

    def lock(self, session: str, token: str, seconds: float) -> Exchange[float]:
        """Take the session's lock for a while. Idempotent.

        Returns 0, or for how long it stays another's at most.
        """
        key = self._lock_key(session)
        call = LOCK.call([key], [token, whole(seconds * 1000)])
        return Exchange(FEATURE, key, (call,), _wait, idempotent=True)

    def unlock(self, session: str, token: str) -> Exchange[bool]:
        """Release the lock if it is still this one's. Idempotent."""
        key = self._lock_key(session)
        call = UNLOCK.call([key], [token])
        return Exchange(FEATURE, key, (call,), _yes, idempotent=True, deferrable=True)

    def key(self, session: str) -> str:
        """Where the session with this hashed id lies."""
        return self._keys.key(session, "session", "h")

    def _lock_key(self, session: str) -> str:
        return self._keys.key(session, "session", "l")


def whole(seconds: float) -> int:
    """A time to live as Redis takes it: whole, and 1 or more."""
    return max(1, math.ceil(seconds))


def _created(replies: list[Reply]) -> Created:
    other = replies[0] if isinstance(replies[0], bytes) else None
    return Created(replies[0] == 1, other)


def _saved(replies: list[Reply]) -> Saved:
    return _SAVED[replies[0]]


def _wait(replies: list[Reply]) -> float:
    return float(max(0, replies[0])) / 1000


def _yes(replies: list[Reply]) -> bool:
    return bool(replies[0])
