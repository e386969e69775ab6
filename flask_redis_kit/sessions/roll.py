"""Which sessions a user has: an index for each user.

``frk:{<ns>:<hash>}:session:u``, where hash is the SHA-256 of the user: a sorted set of hashed ids,
each with the time when it is over for certain. It is another key than the sessions', on Cluster in
another slot, so nothing that needs both is one step; see ``devices.py`` for the order that makes up
for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flask_redis_kit.core.exchange import Exchange, Reply
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.core.script import Script
from flask_redis_kit.sessions.record import GRACE, user_digest

FEATURE: Final = "sessions"
ENROL: Final = Script("flask_redis_kit.sessions", "lua/enrol.lua")
ROLL: Final = Script("flask_redis_kit.sessions", "lua/roll.lua")


class UserIndex:
    """The exchanges with the users' indexes."""

    def __init__(self, keys: KeyBuilder) -> None:
        self._keys = keys

    def enrol(
        self, user: str, session: str, seconds: float, *, least: float = 0, most: int | None = None
    ) -> Exchange[dict[str, bool]]:
        """Enter a session that may live for ``seconds``, or prolong its entry. Idempotent.

        Returns the other entries, as ``read`` does, if there are more than ``most`` by now.
        """
        key = self.key(user)
        call = ENROL.call([key], [session, int(seconds) + 1, most or 0, int(least), GRACE])
        return Exchange(FEATURE, key, (call,), _members, idempotent=True, deferrable=True)

    def read(self, user: str, least: float) -> Exchange[dict[str, bool]]:
        """The sessions of a user, and whether each was entered more than a minute ago.

        ``least``  how long a new entry lives at least, in seconds.
        """
        return self.read_hashed(user_digest(user), least)

    def read_hashed(self, hashed: str, least: float = 0) -> Exchange[dict[str, bool]]:
        """The same by the hash that names the user in the key."""
        key = self._key_of(hashed)
        call = ROLL.call([key], [int(least), GRACE])
        return Exchange(FEATURE, key, (call,), _members, read_only=True)

    def remove(self, user: str, sessions: Sequence[str]) -> Exchange[int]:
        """Remove the entries of sessions that have ended."""
        return self.remove_hashed(user_digest(user), sessions)

    def remove_hashed(self, hashed: str, sessions: Sequence[str]) -> Exchange[int]:
        """The same by the hash that names the user in the key."""
        key = self._key_of(hashed)
        command = ("ZREM", key, *sessions)
        return Exchange(FEATURE, key, (command,), _first, idempotent=True, deferrable=True)

    def key(self, user: str) -> str:
        """Where a user's index lies."""
        return self._key_of(user_digest(user))

    def _key_of(self, name: str) -> str:
        return self._keys.key(name, "session", "u")


def _first(replies: list[Reply]) -> int:
    return int(replies[0])


def _members(replies: list[Reply]) -> dict[str, bool]:
    return entries(replies[0])


def entries(flat: Sequence[Any]) -> dict[str, bool]:
    """Pairs of hashed id, and 1 for an entry that is not new, as scripts return them."""
    if not flat:
        return {}
    return {flat[n].decode(): bool(flat[n + 1]) for n in range(0, len(flat), 2)}
