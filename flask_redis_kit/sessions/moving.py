"""Moving from Flask-Session: its sessions become the kit's when they are first used.

The id stays, so no browser notices. What Flask-Session has stored stays for a while, too, for
workers that run it until a rolling deploy is over, and what they write meanwhile is taken over:

- a field that they changed since the session was moved, or removed, is so here;
- if they removed the session, its visitor has logged out, and it ends here.

They don't see what is written here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
    OWNER,
    TOMBSTONE,
    Loaded,
    Owner,
    owner_of,
    user_text,
)
from flask_redis_kit.sessions.store import Created, Saved, SessionStore, whole

SendMany = Callable[[Sequence[Exchange[Any]]], list[Outcome[Any]]]
_SKEW: Final = 60.0
"""Seconds by which the clocks of the machines may differ; a tenth of a shorter grace."""


class Moved(NamedTuple):
    """What is remembered of a move, short, as it is loaded with the session.

    ``until``   how long what Flask-Session had stays if nobody removes it: s since 1970.
    ``stored``  the digest of that.
    ``fields``  the digest of each field of it.
    """

    until: float
    stored: bytes
    fields: Mapping[str, bytes]


class Moving:
    """Takes over the sessions of Flask-Session in one application.

    ``least``  how long a new entry in a user's index lives at least, in seconds.
    """

    def __init__(self, store: SessionStore, legacy: LegacyStore, least: float) -> None:
        self._store = store
        self._legacy = legacy
        self._least = least
        most = store.config.absolute_timeout or least
        # it must not outlive the session: it would bring it back
        self._grace = whole(min(store.config.legacy_grace, least, most))
        self._skew = min(_SKEW, self._grace / 10)

    def load(self, sid: str) -> Exchange[Legacy | None]:
        """Read what Flask-Session has under an id; raises ``Unreadable``. Read-only."""
        return self._legacy.load(sid)

    def settle(
        self, send: SendMany, sid: str, found: Loaded, outcome: Outcome[Legacy | None]
    ) -> Loaded:
        """What a session is by what both have of it.

        No round trip if there is nothing to take over, else two or three. Raises ``FAILURES``.
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

        Two round trips for all; on Cluster three, if there are users among them. What another
        request has taken over at the same moment is loaded in one more. Raises ``FAILURES``.
        """
        store = self._store
        made = {sid: self._converted(sid, old) for sid, old in found.items()}
        entries: list[Exchange[Any]] = [
            store.index.enrol(each.user, digest_of(sid), max(each.seconds, self._least))
            for sid, each in made.items()
            if each.user is not None
        ]
        creations: list[Exchange[Any]] = []
        for sid, each in made.items():
            fields = {name.encode(): data for name, data in each.fields.items()} | dict(each.own)
            incarnation = each.incarnation or b""
            creations.append(store.create(digest_of(sid), incarnation, each.seconds, fields))
        if store.wire.clustered and entries:  # entered first: what lives must be in the index
            outcomes = send(entries) + send(creations)
        else:
            outcomes = send([*entries, *creations])
        for outcome in outcomes[: len(entries)]:
            outcome.result()
        return self._results(send, made, outcomes[len(entries) :])

    def forget(self, sid: str) -> Exchange[bool]:
        """Remove what Flask-Session has under an id: the session has ended."""
        return self._legacy.remove(sid)

    def _results(
        self, send: SendMany, made: dict[str, Loaded], outcomes: Sequence[Outcome[Created]]
    ) -> dict[str, Loaded]:
        store, results, others = self._store, dict(made), list[str]()
        refused = Created(False, None)
        for (sid, each), outcome in zip(made.items(), outcomes, strict=True):
            created: Created = store.settled(digest_of(sid), outcome, refused)
            if created.created:
                store.adopted(digest_of(sid), each.user)
            else:  # another request was faster, or it ended at this moment
                others.append(sid)
        # not before it is stored here: a server too full for that must not lose it
        send([self._legacy.retire(sid, self._grace) for sid in made])
        if others:
            exchanges = [store.load(digest_of(sid)) for sid in others]
            for sid, loaded in zip(others, send(exchanges), strict=True):
                results[sid] = store.settled(digest_of(sid), loaded, NOTHING)
        return results

    def _converted(self, sid: str, old: Legacy) -> Loaded:
        fields = self._encoded(sid, old)
        own = {**self._owner(old.fields), MOVED: self._record(old, fields)}
        seconds = self._least if old.seconds is None else max(1.0, min(self._least, old.seconds))
        return Loaded(fields, new_incarnation(), seconds, False, own)

    def _encoded(self, sid: str, old: Legacy) -> dict[str, bytes]:
        """The fields as the kit stores them; one that it can't store counts as absent."""
        fields: dict[str, bytes] = {}
        for name, value in old.fields.items():
            try:
                fields[name] = self._store.codec.encode(value)
            except CodecError as error:
                self._store.unreadable(digest_of(sid), name, error)
        return fields

    def _owner(self, fields: Mapping[str, Any], device: bytes = b"") -> dict[bytes, bytes]:
        for key in self._store.config.identity_keys:
            if fields.get(key) is not None:
                owner = Owner(user_text(fields[key]), time.time(), device)
                return {OWNER: owner.stored()}
        return {}

    # what Flask-Session did with it since

    def _follow(self, send: SendMany, sid: str, found: Loaded, old: Legacy | None) -> Loaded:
        moved = self._moved(found)
        if moved is None:
            return found
        if old is None:
            if time.time() < moved.until - self._skew:
                return self._ended(send, sid, found)
            return found
        if _digest(old.stored) != moved.stored:
            return self._merged(send, sid, found, moved, old)
        stays = self._stays_until(old)
        if stays > moved.until + self._skew or old.seconds is None or old.seconds > self._grace:
            # an old worker has used it, and stored it again as it was
            record = moved._replace(until=stays)
            self._write(send, sid, found, Changes({MOVED: self._remembered(record)}, []))
        return found

    def _ended(self, send: SendMany, sid: str, found: Loaded) -> Loaded:
        session, tombstone = digest_of(sid), DESTROYED + new_incarnation()
        destroy = self._store.destroy(session, tombstone, incarnation=found.incarnation or b"")
        outcome = send([destroy])[0]
        if not self._store.settled(session, outcome, False):
            return self._stored_now(send, sid)  # a new worker was faster, with a login perhaps
        self._store.destroyed(session)
        return NOTHING._replace(own={TOMBSTONE: DESTROYED})

    def _stored_now(self, send: SendMany, sid: str) -> Loaded:
        session = digest_of(sid)
        outcome: Outcome[Loaded] = send([self._store.load(session)])[0]
        return self._store.settled(session, outcome, NOTHING)

    def _merged(self, send: SendMany, sid: str, found: Loaded, moved: Moved, old: Legacy) -> Loaded:
        """Three ways: what changed between the two states of Flask-Session is applied here."""
        encoded = self._encoded(sid, old)
        changed = {
            name: data for name, data in encoded.items() if moved.fields.get(name) != _digest(data)
        }
        removed = [name for name in moved.fields if name not in old.fields]
        fields = {name: data for name, data in found.fields.items() if name not in removed}
        fields |= changed
        owner = self._owner(self._identity(fields), found.device or b"")
        nobodys = [OWNER] if not owner and OWNER in found.own else []
        changes = Changes(
            {name.encode(): data for name, data in changed.items()}
            | owner
            | {MOVED: self._record(old, encoded)},
            [*(name.encode() for name in removed), *nobodys],
        )
        if self._write(send, sid, found, changes) is not Saved.SAVED:
            return self._stored_now(send, sid)
        own = {name: data for name, data in found.own.items() if name not in nobodys}
        return found._replace(fields=fields, own={**own, **owner})

    def _write(self, send: SendMany, sid: str, found: Loaded, changes: Changes) -> Saved:
        store, session = self._store, digest_of(sid)
        seconds = max(1.0, found.seconds)
        owner = owner_of(changes.changed.get(OWNER, b""))
        user = None if owner is None else owner.user.decode()
        if user is not None:
            entry = store.index.enrol(user, session, max(seconds, self._least))
            send([entry])[0].result()
        incarnation, moved = found.incarnation or b"", found.own[MOVED]
        save = store.save(session, incarnation, seconds, changes, moved=moved)
        outcome: Outcome[Saved] = send([save])[0]
        saved = store.settled(session, outcome, Saved.GONE)
        after: list[Exchange[Any]] = [self._legacy.retire(sid, self._grace)]
        owned = user is not None or OWNER in changes.removed
        if owned and found.user is not None and user != found.user:
            after.append(store.index.remove(found.user, [session]))
        send(after)
        return saved

    def _identity(self, fields: Mapping[str, bytes]) -> dict[str, Any]:
        identity: dict[str, Any] = {}
        for key in self._store.config.identity_keys:
            with suppress(KeyError, CodecError):
                identity[key] = self._store.codec.decode(fields[key])
        return identity

    def _stays_until(self, old: Legacy) -> float:
        seconds = float(self._grace) if old.seconds is None else min(self._grace, old.seconds)
        return time.time() + seconds

    def _record(self, old: Legacy, fields: Mapping[str, bytes]) -> bytes:
        digests = {name: _digest(data) for name, data in fields.items()}
        return self._remembered(Moved(self._stays_until(old), _digest(old.stored), digests))

    def _remembered(self, moved: Moved) -> bytes:
        return self._store.codec.encode([moved.until, moved.stored, dict(moved.fields)])

    def _moved(self, found: Loaded) -> Moved | None:
        data = found.own.get(MOVED)
        if data is None:
            return None
        try:
            until, stored, fields = self._store.codec.decode(data)
            return Moved(float(until), bytes(stored), dict(fields))
        except (CodecError, TypeError, ValueError):
            return None


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]
