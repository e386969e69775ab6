"""Moving from Flask-Session: its sessions become the kit's when they are first used.

The id stays, so no browser notices. What Flask-Session has stored stays for a while, too, for
workers that run it until a rolling deploy is over, and what they write meanwhile is taken over:

- a field that they changed since the session was moved, or removed, is so here;
- if they removed the session, its visitor has logged out, and it ends here.

They don't see what is written here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.sessions.changes import Changes
from flask_redis_kit.sessions.ids import digest_of, new_incarnation
from flask_redis_kit.sessions.legacy import Legacy, LegacyStore, Unreadable
from flask_redis_kit.sessions.record import (
    DESTROYED,
    MOVED,
    NOTHING,
    TOMBSTONE,
    USER,
    Loaded,
    owned_by,
)
from flask_redis_kit.sessions.store import Created, Saved, SessionStore, whole

SendMany = Callable[[Sequence[Exchange[Any]]], list[Outcome[Any]]]
_LONGEST: Final = 31 * 86400.0
"""How long a session lives that Flask-Session gave no limit, in seconds."""
_SKEW: Final = 60.0
"""Seconds by which the clocks of the machines may differ."""


class Moved(NamedTuple):
    """What is remembered of a move: when, and the bytes that Flask-Session had then."""

    moment: float
    stored: bytes


class Moving:
    """Takes over the sessions of Flask-Session in one application."""

    def __init__(self, store: SessionStore, legacy: LegacyStore) -> None:
        self._store = store
        self._legacy = legacy
        self._grace = whole(store.config.legacy_grace)

    def load(self, sid: str) -> Exchange[Legacy | None]:
        """Read what Flask-Session has under an id; raises ``Unreadable``. Read-only."""
        return self._legacy.load(sid)

    def settle(
        self, send: SendMany, sid: str, found: Loaded, outcome: Outcome[Legacy | None]
    ) -> Loaded:
        """What a session is by what both have of it.

        No round trip if there is nothing to take over, else one or two. Raises ``FAILURES``.
        """
        try:
            old = outcome.result()
        except Unreadable as error:
            if found.incarnation is None and not found.ended:
                self._store.unreadable(digest_of(sid), None, error)
            return found
        except FAILURES:
            if found.incarnation is None and not found.ended:
                raise
            return found
        if found.incarnation is not None:
            return self._follow(send, sid, found, old)
        if old is None:
            return found
        if found.ended:
            send([self._legacy.remove(sid)])
            return found
        return self.adopt(send, {sid: old})[sid]

    def adopt(self, send: SendMany, found: Mapping[str, Legacy]) -> dict[str, Loaded]:
        """Store sessions of Flask-Session as the kit's; what is stored now, by id.

        One round trip for all; on Cluster two, if there are users among them. What another request
        has taken over at the same moment is loaded in one more. Raises ``FAILURES``.
        """
        store = self._store
        made = {sid: self._converted(old) for sid, old in found.items()}
        entries: list[Exchange[Any]] = [
            store.index.enrol(each.user, digest_of(sid), each.seconds)
            for sid, each in made.items()
            if each.user is not None
        ]
        creations: list[Exchange[Any]] = []
        for sid, each in made.items():
            fields = {name.encode(): data for name, data in each.fields.items()} | dict(each.own)
            incarnation = each.incarnation or b""
            creations.append(store.create(digest_of(sid), incarnation, each.seconds, fields))
        retirements: list[Exchange[Any]] = [self._legacy.retire(sid, self._grace) for sid in made]
        if store.wire.clustered and entries:  # entered first: what lives must be in the index
            outcomes = send(entries) + send([*creations, *retirements])
        else:
            outcomes = send([*entries, *creations, *retirements])
        for outcome in outcomes[: len(entries)]:
            outcome.result()
        created = outcomes[len(entries) : len(entries) + len(creations)]
        return self._results(send, made, created)

    def forget(self, sid: str) -> Exchange[bool]:
        """Remove what Flask-Session has under an id: the session has ended."""
        return self._legacy.remove(sid)

    def _results(
        self, send: SendMany, made: dict[str, Loaded], outcomes: Sequence[Outcome[Created]]
    ) -> dict[str, Loaded]:
        store, results, taken = self._store, dict(made), list[str]()
        refused = Created(False, None)
        for (sid, each), outcome in zip(made.items(), outcomes, strict=True):
            created: Created = store.settled(digest_of(sid), outcome, refused)
            if created.created:
                store.adopted(digest_of(sid), each.user)
            elif created.other is not None:
                taken.append(sid)
            else:  # it ended at this moment, or another program's value lies there
                results[sid] = NOTHING._replace(own={TOMBSTONE: DESTROYED})
        if taken:
            exchanges = [store.load(digest_of(sid)) for sid in taken]
            for sid, loaded in zip(taken, send(exchanges), strict=True):
                results[sid] = store.settled(digest_of(sid), loaded, NOTHING)
        return results

    def _converted(self, old: Legacy) -> Loaded:
        fields = {
            name: self._store.codec.encode(value)
            for name, value in old.fields.items()
            if name[:1] != "\0"
        }
        own = {**self._owner(old.fields), MOVED: self._record(old.stored)}
        seconds = _LONGEST if old.seconds is None else max(1.0, old.seconds)
        return Loaded(fields, new_incarnation(), seconds, False, own)

    def _owner(self, fields: Mapping[str, Any]) -> dict[bytes, bytes]:
        for key in self._store.config.identity_keys:
            if fields.get(key) is not None:
                return owned_by(fields[key], None, self._store.codec)
        return {}

    # what Flask-Session did with it since

    def _follow(self, send: SendMany, sid: str, found: Loaded, old: Legacy | None) -> Loaded:
        moved = self._moved(found)
        if moved is None:
            return found
        if old is None:
            if time.time() < moved.moment + self._grace - _SKEW:
                return self._ended(send, sid)
            return found
        if old.stored != moved.stored:
            return self._merged(send, sid, found, moved, old)
        if old.seconds is None or old.seconds > self._grace + _SKEW:
            # an old worker has used it, and stored it again as it was
            self._write(send, sid, found, Changes({MOVED: self._record(old.stored)}, []))
        return found

    def _ended(self, send: SendMany, sid: str) -> Loaded:
        session = digest_of(sid)
        outcome = send([self._store.destroy(session, DESTROYED + new_incarnation())])[0]
        if self._store.settled(session, outcome, False):
            self._store.destroyed(session)
        return NOTHING._replace(own={TOMBSTONE: DESTROYED})

    def _merged(self, send: SendMany, sid: str, found: Loaded, moved: Moved, old: Legacy) -> Loaded:
        """Three ways: what changed between the two states of Flask-Session is applied here."""
        before = self._legacy.decoded(moved.stored)
        changed = {
            name: self._store.codec.encode(value)
            for name, value in old.fields.items()
            if name[:1] != "\0" and (name not in before or before[name] != value)
        }
        removed = [name for name in before if name not in old.fields]
        own = {**self._owner(old.fields), MOVED: self._record(old.stored)}
        changes = Changes(
            {**{name.encode(): data for name, data in changed.items()}, **own},
            [name.encode() for name in removed],
        )
        saved = self._write(send, sid, found, changes, user=own.get(USER))
        if saved is not Saved.SAVED:
            return NOTHING._replace(own={TOMBSTONE: DESTROYED})
        fields = {name: data for name, data in found.fields.items() if name not in removed}
        return found._replace(fields=fields | changed, own={**found.own, **own})

    def _write(
        self, send: SendMany, sid: str, found: Loaded, changes: Changes, user: bytes | None = None
    ) -> Saved:
        store, session = self._store, digest_of(sid)
        seconds = max(1.0, found.seconds)
        if user is not None:
            name = user.decode(errors="replace")
            send([store.index.enrol(name, session, seconds)])[0].result()
        save = store.save(session, found.incarnation or b"", seconds, changes)
        outcome: Outcome[Saved] = send([save, self._legacy.retire(sid, self._grace)])[0]
        return store.settled(session, outcome, Saved.GONE)

    def _record(self, stored: bytes) -> bytes:
        return self._store.codec.encode([time.time(), stored])

    def _moved(self, found: Loaded) -> Moved | None:
        data = found.own.get(MOVED)
        if data is None:
            return None
        try:
            moment, stored = self._store.codec.decode(data)
            return Moved(float(moment), bytes(stored))
        except (CodecError, TypeError, ValueError):
            return None
