"""A session goes on under another id: what is sent for it where all keys are on one server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from flask_redis_kit.core.exchange import Exchange, Reply
from flask_redis_kit.core.script import Arg, Script
from flask_redis_kit.sessions.record import DEADLINE, GRACE, INCARNATION, ROTATED
from flask_redis_kit.sessions.roll import entries
from flask_redis_kit.sessions.store import FEATURE, SessionStore, whole

ROTATE: Final = Script("flask_redis_kit.sessions", "lua/rotate.lua")


class Entry(NamedTuple):
    """An entry in a user's index.

    ``seconds``  how long it is valid.
    ``least``    how long any new one is at least.
    """

    user: str
    seconds: float
    least: float


class Rotated(NamedTuple):
    """What came of a rotation.

    ``stored``  under the new id, and ended under the old one.
    ``others``  the user's other entries if there are too many by now; see ``UserIndex.read``.
    """

    stored: bool
    others: Mapping[str, bool]


class Rotation(NamedTuple):
    """Everything that a rotation needs to know. Sessions by their hashed ids.

    ``needed``       nothing is stored if the old session is gone.
    ``moved``        the old one was Flask-Session's.
    ``incarnation``  of the new one.
    ``seconds``      how long that lives.
    ``before``       whose the old one was.
    """

    old: str
    new: str
    needed: bool
    moved: bool
    incarnation: bytes
    seconds: float
    fields: Mapping[bytes, bytes]
    entry: Entry | None
    before: str | None

    def exchange(self, store: SessionStore) -> Exchange[Rotated]:
        """The one script. Idempotent. A server that is full refuses it, and nothing has happened.

        An old session that is another program's key counts as gone, and stays.
        """
        entry, config = self.entry, store.config
        keys = [store.key(self.new), store.key(self.old)]
        if entry is not None:
            keys.append(store.index.key(entry.user))
        if self.before is not None:
            same = entry is not None and entry.user == self.before
            keys.append(keys[-1] if same else store.index.key(self.before))
        grace = store.moved_grace if self.moved else store.grace
        args: list[Arg] = [whole(self.seconds), ROTATED + self.incarnation, grace]
        args += ("1" if self.needed else "0", "1" if self.moved else "0", self.new, self.old)
        if entry is None:
            args += ("", "0", "0")
        else:
            args += (int(entry.seconds) + 1, config.max_per_user or "0", int(entry.least) - GRACE)
        limit: Arg = "" if config.absolute_timeout is None else whole(config.absolute_timeout)
        if DEADLINE in self.fields:
            limit = "0"  # not asked then
        args += (limit, INCARNATION, self.incarnation)
        for pair in self.fields.items():
            args += pair
        call = ROTATE.call(keys, args)
        return Exchange(FEATURE, keys[0], (call,), _rotated, idempotent=True, deferrable=True)


def _rotated(replies: list[Reply]) -> Rotated:
    answer = replies[0]
    return Rotated(answer[0] == 1, entries(answer[1:]))
