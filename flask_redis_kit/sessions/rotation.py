"""A session goes on under another id: what is sent for it where all keys are on one server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from flask_redis_kit.core.exchange import Exchange, Reply
from flask_redis_kit.core.script import Arg, Script
from flask_redis_kit.sessions.record import DEADLINE, GRACE
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


_STORED: Final = Rotated(True, {})
_REFUSED: Final = Rotated(False, {})


def rotation(
    store: SessionStore,
    old: str,
    new: str,
    incarnation: bytes,
    seconds: float,
    fields: Mapping[bytes, bytes],
    *,
    entry: Entry | None,
    entered: bool,
    needed: bool,
    moved: bool,
) -> Exchange[Rotated]:
    """Store a session under a new id, and end the old one. Sessions by their hashed ids.

    ``incarnation``  of the new one, to live ``seconds`` with these encoded ``fields``.
    ``entered``      the old one has an entry in the index of ``entry.user``, which goes. One in
                     another user's stays until it is looked at, as on a Cluster.
    ``needed``       nothing is stored if the old session is gone.
    ``moved``        the old one was Flask-Session's.
    One script, idempotent. A server that is full refuses it, and nothing has happened.
    """
    config = store.config
    keys = [store.key(new), store.key(old)]
    most = config.max_per_user or 0
    lasts: int | str = ""
    if entry is not None:
        keys.append(store.index.key(entry.user))
        lasts = int(entry.seconds) + 1
    grace = store.moved_grace if moved else store.grace
    options = ""
    if needed or entered or moved or most or grace != GRACE:
        least = 0 if entry is None else int(entry.least) - GRACE
        options = f"{needed:d},{entered:d},{grace},{moved:d},{most},{least},"
    limit: int | str = "" if config.absolute_timeout is None else whole(config.absolute_timeout)
    if DEADLINE in fields:
        limit = 0  # not asked then
    args: list[Arg] = [whole(seconds), incarnation, lasts, options, limit]
    for pair in fields.items():
        args += pair
    call = ROTATE.call(keys, args)
    return Exchange(FEATURE, keys[0], (call,), _rotated, idempotent=True, deferrable=True)


def _rotated(replies: list[Reply]) -> Rotated:
    answer = replies[0]
    if answer == 1:
        return _STORED
    return Rotated(True, entries(answer)) if isinstance(answer, list) else _REFUSED
