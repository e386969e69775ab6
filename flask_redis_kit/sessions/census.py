"""All the sessions of an application: counting them, tidying their users' indexes, moving them.

These look at every key of the server, a thousand in a step, so they are for a command, not for a
request. A session that begins or ends meanwhile may or may not be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.feature import Context
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.ids import digest_of, is_id
from flask_redis_kit.sessions.legacy import Legacy, Unreadable, legacy_store
from flask_redis_kit.sessions.moving import Moving
from flask_redis_kit.sessions.record import NOTHING, Loaded
from flask_redis_kit.sessions.store import SessionStore

T = TypeVar("T")
_STEP: Final = 1000
_BATCH: Final = 200
Advance = Callable[[int], object]


class Count(NamedTuple):
    """How many sessions there are, how many of them are of users, and of how many."""

    sessions: int
    logged_in: int
    users: int


class Tidied(NamedTuple):
    """What was removed: entries of ended sessions, and in how many users' indexes was looked."""

    entries: int
    indexes: int


class Progress(NamedTuple):
    """What became of the sessions of Flask-Session.

    ``moved``       are the kit's now (of a rehearsal: would be).
    ``known``       were moved before, or have ended here.
    ``unreadable``  are none that we can read, e.g. pickles.
    """

    moved: int
    known: int
    unreadable: int


class Census:
    """Looks at all sessions of one application."""

    def __init__(self, context: Context[SessionsConfig], store: SessionStore) -> None:
        self._context = context
        self._store = store
        config = context.config
        self._legacy = legacy_store(context)
        self._least = config.idle_of(context.app.permanent_session_lifetime)

    def count(self) -> Count:
        """Count the living ones. A round trip for each thousand keys and each 200 sessions."""
        sessions = logged_in = 0
        users: set[str] = set()
        for found in self._living():
            sessions += 1
            if found.user is not None:
                logged_in += 1
                users.add(found.user)
        return Count(sessions, logged_in, len(users))

    def _living(self) -> Iterator[Loaded]:
        seen: set[str] = set()
        for batch in _batches(self._names("h")):
            fresh = [session for session in dict.fromkeys(batch) if session not in seen]
            seen.update(fresh)
            for session, outcome in self._each(fresh, self._store.glance):
                found: Loaded = self._store.settled(session, outcome, NOTHING)
                if found.incarnation is not None:
                    yield found

    def tidy(self) -> Tidied:
        """Remove the entries of ended sessions from all users' indexes.

        They go away by themselves when their time is over, or when the user's sessions are listed.
        """
        index, removed, indexes = self._store.index, 0, 0
        least = self._least
        for batch in _batches(self._names("u")):
            for hashed, outcome in self._each(batch, lambda each: index.read_hashed(each, least)):
                indexes += 1
                roll: dict[str, bool] = self._store.settled(hashed, outcome, {})
                gone = [
                    session
                    for session, glanced in self._each(list(roll), self._store.glance)
                    if self._is_gone(session, glanced, settled=roll[session])
                ]
                if gone:
                    removed += self._send([index.remove_hashed(hashed, gone)])[0].result()
        return Tidied(removed, indexes)

    def _is_gone(self, session: str, outcome: Outcome[Loaded], *, settled: bool) -> bool:
        found: Loaded = self._store.settled(session, outcome, NOTHING)
        return found.incarnation is None and (settled or found.ended)

    def _glances(self, ids: Sequence[str]) -> Iterator[tuple[str, Loaded]]:
        """What the kit has of sessions, by their ids."""
        for sid, outcome in self._each(ids, lambda each: self._store.glance(digest_of(each))):
            yield sid, self._store.settled(digest_of(sid), outcome, NOTHING)

    def legacy_ids(self) -> list[str]:
        """The ids of Flask-Session's sessions: what lies under its prefix and can be an id."""
        prefix = self._context.config.key_prefix
        ids = (key[len(prefix) :] for key in self._scan(_literal(prefix) + "*"))
        return list(dict.fromkeys(sid for sid in ids if is_id(sid)))

    def move(self, ids: Sequence[str], advance: Advance, *, rehearse: bool = False) -> Progress:
        """Make these sessions of Flask-Session the kit's, with what is left of their time.

        What was moved before is left alone, so this may be stopped and begun again.
        ``advance``   is told how many were looked at, again and again.
        ``rehearse``  change nothing.
        Four round trips for 200 sessions. Raises what the server raised; what is done is done.
        """
        moving = Moving(self._store, self._legacy, self._least)
        moved = known = unreadable = 0
        for batch in _batches(ids):
            readable: dict[str, Legacy] = {}
            for sid, outcome in self._each(batch, self._legacy.load):
                if isinstance(outcome.error, Unreadable):
                    unreadable += 1
                    continue
                old: Legacy | None = outcome.result()
                if old is not None:
                    readable[sid] = old
            for sid, found in self._glances(list(readable)):
                if found.incarnation is not None or found.ended:
                    known += 1
                    del readable[sid]
            if readable and not rehearse:
                moving.adopt(self._send, readable)
            moved += len(readable)
            advance(len(batch))
        return Progress(moved, known, unreadable)

    def _names(self, kind: str) -> Iterator[str]:
        """The hashes in the keys of one kind."""
        for key in self._scan(self._context.keys.key("*", "session", kind)):
            yield key.partition("}")[0].rpartition(":")[2]

    def _scan(self, pattern: str) -> Iterator[str]:
        client = self._context.wire.connector.client
        for key in client.scan_iter(match=pattern, count=_STEP):
            yield key if isinstance(key, str) else key.decode(errors="replace")

    def _each(
        self, names: Sequence[str], exchange: Callable[[str], Exchange[T]]
    ) -> list[tuple[str, Outcome[T]]]:
        outcomes = self._send([exchange(name) for name in names]) if names else []
        return list(zip(names, outcomes, strict=True))

    def _send(self, exchanges: Sequence[Exchange[Any]]) -> list[Outcome[Any]]:
        return self._context.send_many(exchanges)


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _literal(text: str) -> str:
    """The text as a pattern of SCAN that matches nothing else."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in text)
