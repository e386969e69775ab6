"""What can become of a session at the end of a request: stored, moved, written, ended.

Each step hands its exchanges to the request's batch and returns a ``Verdict``, which reads what
came of them once they were sent. Where one must wait for another that lies in another slot of a
Cluster it goes in a trip of its own; on one server the order of the pipeline is enough.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.request import RequestBatch
from flask_redis_kit.sessions.changes import NO_CHANGES, Changes
from flask_redis_kit.sessions.contents import Contents
from flask_redis_kit.sessions.cookie import Cookie
from flask_redis_kit.sessions.devices import Devices
from flask_redis_kit.sessions.errors import SessionInterrupted
from flask_redis_kit.sessions.ids import digest_of, new_id, new_incarnation
from flask_redis_kit.sessions.record import DESTROYED, MOVED, NO_FIELDS, ROTATED, Loaded
from flask_redis_kit.sessions.rotation import Entry, Rotated, rotation
from flask_redis_kit.sessions.span import Span
from flask_redis_kit.sessions.store import Created, Lock, Saved, SessionStore

T = TypeVar("T")
log = logging.getLogger("flask_redis_kit.sessions")

Verdict = Callable[[], Cookie]
"""Reads what came of the exchanges, once they were sent."""
Result = Callable[[], Outcome[T]]
_REFUSED: Final = Created(False, None)


class Steps:
    """The steps of one session in one request."""

    def __init__(self, contents: Contents, store: SessionStore, batch: RequestBatch) -> None:
        self._contents = contents
        self._store = store
        self._batch = batch

    def create(self, span: Span, changes: Changes, sid: str) -> Verdict:
        """Store a new session. One trip; on Cluster two if it has a user."""
        contents = self._contents
        stored = self._store_new(span, changes, sid, new_incarnation(), goes_on=False)

        def verdict() -> Cookie:
            cookie = stored()
            if cookie is Cookie.SET:
                self._store.created(contents.session, span.user)
            return cookie

        return verdict

    def rotate(self, span: Span, changes: Changes, *, anew: bool) -> Verdict:
        """Store it under a new id, and end the old one. One trip; on Cluster two or three.

        ``anew``  somebody logs in: that counts even if the old session has ended meanwhile.
        """
        contents, store = self._contents, self._store
        sid = contents.sid if contents.rotated else new_id(store.config.id_length)
        if store.wire.clustered:
            return self._rotate_apart(span, changes, sid, anew=anew)
        old, session, incarnation = contents.session, digest_of(sid), new_incarnation()
        own = span.fresh(goes_on=not anew)
        fields = contents.fields.all_encoded(changes) | own
        user, found = span.user, contents.loaded_now
        rotated_by = rotation(
            store,
            old,
            session,
            incarnation,
            span.idle,
            fields,
            entry=None if user is None else Entry(user, span.entry_seconds, span.least),
            entered=user is not None and user == found.user,
            needed=not anew,
            moved=MOVED in found.own,
        )
        result = self._defer(rotated_by)
        self._forget(contents.origin)

        def verdict() -> Cookie:
            try:
                rotated: Rotated = result().result()
            except FAILURES as error:
                self._undo(sid)
                return self._unsaved(old, error)
            if not rotated.stored:
                return self.interrupted(old, "ended")
            stored = Loaded(NO_FIELDS, incarnation, span.idle, False, own)
            contents.became(sid, stored, changes, session)
            self._thin(span, rotated.others)
            store.rotated(session, old, user)
            return Cookie.SET

        return verdict

    def _rotate_apart(self, span: Span, changes: Changes, sid: str, *, anew: bool) -> Verdict:
        """On Cluster, where the two lie in different slots, one after the other."""
        contents, store = self._contents, self._store
        origin, old, incarnation = contents.origin, contents.session, new_incarnation()
        stored = self._store_new(span, changes, sid, incarnation, goes_on=not anew)
        # the incarnation lets the script know this rotation when its call is sent again
        destroy = store.destroy(old, ROTATED + incarnation, replaced=True)

        def verdict() -> Cookie:
            cookie = stored()
            if cookie is not Cookie.SET:
                return cookie
            try:
                had = store.settled(old, self._call(destroy), False)
            except FAILURES as error:
                self._undo(sid)
                return self._unsaved(old, error)
            if not had and not anew:
                # it was logged out or revoked meanwhile: its data must not live on
                self._undo(sid)
                return self.interrupted(old, "ended")
            self._forget(origin)
            store.rotated(contents.session, old, span.user)
            return Cookie.SET

        return verdict

    def save(self, span: Span, changes: Changes, *, tombstone: bytes, lock: Lock | None) -> Verdict:
        """Write what changed, and prolong it. ``tombstone``: it ends if nothing is left."""
        entry = span.entry_due
        own = span.changed(entry=entry)
        if entry:
            self._enter(span, self._contents.session)
        return self.write(span.seconds, changes, own, tombstone=tombstone, lock=lock)

    def write(
        self,
        seconds: float,
        changes: Changes,
        own: Changes = NO_CHANGES,
        *,
        tombstone: bytes = b"",
        lock: Lock | None = None,
    ) -> Verdict:
        """Write what changed, and ``own`` of the kit's fields, whoever it belongs to."""
        contents, store = self._contents, self._store
        sid, found = contents.origin or "", contents.loaded_now
        session, incarnation = contents.session, found.incarnation or b""
        both = changes.and_also(own)
        result = self._defer(
            store.save(session, incarnation, seconds, both, tombstone=tombstone, lock=lock)
        )

        def verdict() -> Cookie:
            try:
                saved = store.settled(session, result(), Saved.GONE)
            except FAILURES as error:
                if changes:
                    return self._unsaved(session, error)
                log.warning("session %s could not be prolonged: %s", session, error)
                return Cookie.KEEP
            if saved is Saved.ENDED:
                self._forget(sid)
                contents.over()
                store.destroyed(session)
                return Cookie.DELETE
            if saved is not Saved.SAVED:
                lost = "ended" if saved is Saved.GONE else "overtaken"
                return self.interrupted(session, lost) if changes else Cookie.KEEP
            store.count("saved" if changes else "prolonged")
            send = contents.forced or changes.permanence or contents.permanent
            kept = found.own if not own else own.applied_to(found.own)
            contents.became(sid, Loaded(NO_FIELDS, incarnation, seconds, False, kept), changes)
            return Cookie.SET if send else Cookie.KEEP

        return verdict

    def end(self, sid: str, found: Loaded) -> Verdict:
        """End it, whatever it holds; ``found``: what is known of it."""
        store = self._store
        session, user = digest_of(sid), found.user
        # the incarnation lets the script know this ending when its call is sent again
        destroyed = self._defer(store.destroy(session, DESTROYED + new_incarnation()))
        self._forget(sid)
        if user is not None and not store.wire.clustered:
            self._defer(store.index.remove(user, [session]))

        def verdict() -> Cookie:
            if store.settled(session, destroyed(), False):
                store.destroyed(session)
                if user is not None and store.wire.clustered:
                    self._call(store.index.remove(user, [session]))  # it is pruned later if not
            return Cookie.DELETE

        return verdict

    def touch(self, sid: str, seconds: float) -> Verdict:
        """Prolong a session that was not looked at."""
        session = digest_of(sid)
        touched = self._defer(self._store.touch(session, seconds))

        def verdict() -> Cookie:
            error = touched().error
            if error is not None:
                log.warning("session %s could not be prolonged: %s", session, error)
            return Cookie.KEEP

        return verdict

    def interrupted(self, session: str, reason: str) -> Cookie:
        """The changes are dropped, without a cookie that could overwrite another request's."""
        self._contents.lose()
        said = self._store.interrupted(session, reason)
        if self._store.config.on_interrupt == "raise":
            raise SessionInterrupted(f"{said[0].upper()}{said[1:]}.", session=session)
        return Cookie.KEEP

    def _store_new(
        self, span: Span, changes: Changes, sid: str, incarnation: bytes, *, goes_on: bool
    ) -> Verdict:
        """Enter it in its user's index, then store it: what lives must be in the index."""
        contents, store = self._contents, self._store
        session = digest_of(sid)
        own = span.fresh(goes_on=goes_on)
        fields = contents.fields.all_encoded(changes) | own
        entered = self._enter(span, session, first=True)
        result: Result[Created] | None = None
        if not (store.wire.clustered and entered().error is not None):
            result = self._defer(store.create(session, incarnation, span.idle, fields))

        def verdict() -> Cookie:
            try:
                others = entered().result()
            except FAILURES as error:
                self._undo(sid)
                return self._unsaved(session, error)
            assert result is not None  # noqa: S101  # it is only where the entry failed
            try:
                created = store.settled(session, result(), _REFUSED).created
            except FAILURES as error:
                return self._unsaved(session, error)
            if not created:
                return self.interrupted(session, "ended")
            contents.became(
                sid, Loaded(NO_FIELDS, incarnation, span.idle, False, own), changes, session
            )
            self._thin(span, others)
            return Cookie.SET

        return verdict

    def _forget(self, sid: str | None) -> None:
        """Flask-Session may have it still; until that is removed the tombstone stands for it."""
        predecessor = self._store.predecessor
        if predecessor is not None and sid is not None:
            self._defer(predecessor.forget(sid))

    def _enter(self, span: Span, session: str, *, first: bool = False) -> Result[dict[str, bool]]:
        """Enter the session in its user's index.

        ``first``  it is new: nothing else may go before this, and there may be too many now.
        """
        user = span.user
        if user is None:
            return lambda: Outcome({})
        most = self._store.config.max_per_user if first else None
        enrol = self._store.index.enrol(
            user, session, span.entry_seconds, least=span.least, most=most
        )
        if first and self._store.wire.clustered:
            outcome = self._call(enrol)
            return lambda: outcome
        return self._defer(enrol)

    def _thin(self, span: Span, others: Mapping[str, bool]) -> None:
        """End what the user has beyond ``SESSION_MAX_PER_USER``."""
        if others and span.user is not None:
            devices = Devices(self._store, self._call_many, span.least)
            devices.thin(span.user, self._store.config.max_per_user, others)

    def _undo(self, sid: str) -> None:
        session = digest_of(sid)
        error = self._call(self._store.destroy(session, DESTROYED + new_incarnation())).error
        if error is not None:
            log.warning("session %s, whose id nobody has, could not be removed: %s", session, error)

    def _unsaved(self, session: str, error: Exception) -> Cookie:
        if self._store.config.on_save_error == "raise":
            raise error
        log.warning("session %s could not be stored: %s", session, error)
        self._contents.lose()
        self._store.interrupted(session, "unavailable")
        return Cookie.KEEP

    def _defer(self, exchange: Exchange[T]) -> Result[T]:
        deferred = self._batch.defer(self._store.wire, exchange)

        def result() -> Outcome[T]:
            assert deferred.outcome is not None  # noqa: S101  # the batch was sent
            return deferred.outcome

        return result

    def _call(self, exchange: Exchange[T]) -> Outcome[T]:
        return self._call_many((exchange,))[0]

    def _call_many(self, exchanges: Sequence[Exchange[Any]]) -> list[Outcome[Any]]:
        return self._batch.call(self._store.wire, exchanges)
