"""What the end of a request sends for its session, and what becomes of the cookie."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Final, TypeVar

from flask_redis_kit.core.exchange import Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.request import Deferred, RequestBatch
from flask_redis_kit.sessions.changes import Changes
from flask_redis_kit.sessions.contents import Contents
from flask_redis_kit.sessions.ids import digest_of, new_id, new_incarnation
from flask_redis_kit.sessions.store import (
    DESTROYED,
    ROTATED,
    USER,
    Created,
    Pruned,
    SessionStore,
)

T = TypeVar("T")
log = logging.getLogger("flask_redis_kit.sessions")

NONE_CREATED: Final = Created(False, None)


class Cookie(Enum):
    """What a response does with the session's cookie."""

    KEEP = "keep"
    SET = "set"
    DELETE = "delete"


Verdict = Callable[[], Cookie]
"""Reads what came of the exchanges, once they were sent."""


def slide_interval(idle: float) -> float:
    """How often a session that is only read is prolonged, in seconds: 60 times in its life."""
    return min(max(idle / 60, 1.0), 3600.0)


class Saving:
    """Saves the session of one request, in the one trip that ends the request.

    ``idle``     how long a session lives without being used, in seconds.
    ``sliding``  whether reading prolongs it.
    """

    def __init__(
        self, contents: Contents, store: SessionStore, batch: RequestBatch, *, sliding: bool
    ) -> None:
        self._contents = contents
        self._store = store
        self._batch = batch
        self._sliding = sliding
        self._idle = 0.0
        self.decision: Cookie | None = None
        """None until it was saved; of a save that failed, what the error's response must do."""

    def run(self, idle: float) -> Cookie:
        """Send what there is to send; the second call for a request only tells the decision.

        Raises what the server raised for a change that was not stored.
        """
        if self.decision is None:
            contents = self._contents
            self._idle = idle
            self.decision = Cookie.KEEP
            contents.saved = True
            verdict: Verdict = _keep
            try:
                verdict = self._plan()
            finally:
                self._batch.finish()
            self.decision = verdict()
        return self.decision

    def _plan(self) -> Verdict:
        contents = self._contents
        if not contents.ready():
            return _keep
        if contents.ended:
            return self._begin_anew()
        changes = contents.changes()
        loaded = contents.loaded_now
        if loaded.incarnation is None:
            return self._begin(changes)
        sid = contents.origin or ""
        if changes.removed and contents.empty:
            if changes.identity or contents.rotated:
                return self._end(sid)
            return self._prune(sid, loaded.incarnation, changes)
        if contents.rotated or changes.identity:
            return self._rotate(sid, changes)
        if changes.changed or changes.removed:
            return self._save(sid, loaded.incarnation, changes)
        due = abs(self._idle - loaded.seconds) >= slide_interval(self._idle)
        if contents.forced or (self._sliding and due):
            return self._touch(sid, loaded.incarnation)
        return _keep

    def _begin(self, changes: Changes) -> Verdict:
        """There is no session yet."""
        contents = self._contents
        if contents.empty:
            return _keep
        if contents.loaded_now.rotated and contents.user is None:
            # the browser has, or is about to get, the cookie of a login: don't overwrite it
            return self._interrupted(contents.origin or "")
        return self._create(contents.sid, new_incarnation(), changes)

    def _begin_anew(self) -> Verdict:
        """``clear()`` ended the old session; what was set since is a new one."""
        contents = self._contents
        created = None
        try:
            if not contents.empty:
                created = self._create(contents.sid, new_incarnation(), contents.changes())
        finally:  # the old one ends even if the new one can't be stored
            ended = self._end(contents.origin) if contents.origin is not None else _delete

        def verdict() -> Cookie:
            cookie = created() if created is not None else Cookie.DELETE
            ended()
            return cookie

        return verdict

    def _create(self, sid: str, incarnation: bytes, changes: Changes) -> Verdict:
        contents = self._contents
        session = digest_of(sid)
        fields = contents.fields(changes)
        user = contents.user
        if user is not None:
            fields[USER] = str(user).encode(errors="backslashreplace")
        deferred = self._batch.defer(
            self._store.wire, self._store.create(session, incarnation, self._idle, fields)
        )

        def verdict() -> Cookie:
            if not self._settled(session, deferred, NONE_CREATED).created:
                self._store.interrupted(session)
                return Cookie.KEEP
            contents.moved(sid)
            return Cookie.SET

        return verdict

    def _end(self, sid: str) -> Verdict:
        session = digest_of(sid)
        # whoever wants an end must not keep the cookie, come what may
        self.decision = Cookie.DELETE
        deferred = self._batch.defer(self._store.wire, self._store.destroy(session, DESTROYED))

        def verdict() -> Cookie:
            self._settled(session, deferred, False)
            return Cookie.DELETE

        return verdict

    def _rotate(self, sid: str, changes: Changes) -> Verdict:
        """A new id first, then the end of the old one, in one trip."""
        contents, store = self._contents, self._store
        old = digest_of(sid)
        new_sid = contents.sid if contents.rotated else new_id()
        incarnation = new_incarnation()
        created = self._create(new_sid, incarnation, changes)
        # the incarnation lets the script know this rotation when its call is sent again
        destroyed = self._batch.defer(store.wire, store.destroy(old, ROTATED + incarnation))
        logs_in = changes.identity and contents.user is not None

        def verdict() -> Cookie:
            cookie = created()
            had = self._settled(old, destroyed, False)
            if cookie is Cookie.SET and not had and not logs_in:
                # it was logged out or revoked meanwhile: its data must not live on
                self._undo(digest_of(new_sid))
                store.interrupted(old)
                return Cookie.KEEP
            return cookie

        return verdict

    def _undo(self, session: str) -> None:
        destroy = self._store.destroy(session, DESTROYED)
        error = self._batch.call(self._store.wire, (destroy,))[0].error
        if error is not None:
            log.warning("session %s, whose id nobody has, could not be removed: %s", session, error)

    def _save(self, sid: str, incarnation: bytes, changes: Changes) -> Verdict:
        session = digest_of(sid)
        exchange = self._store.save(
            session, incarnation, self._idle, changes.changed, changes.removed
        )
        deferred = self._batch.defer(self._store.wire, exchange)

        def verdict() -> Cookie:
            if not self._settled(session, deferred, False):
                self._store.interrupted(session)
                return Cookie.KEEP
            return self._cookie_of_a_write(changes)

        return verdict

    def _cookie_of_a_write(self, changes: Changes) -> Cookie:
        contents = self._contents
        send = contents.forced or changes.permanence or contents.permanent
        return Cookie.SET if send else Cookie.KEEP

    def _prune(self, sid: str, incarnation: bytes, changes: Changes) -> Verdict:
        """The last key that this request knows of is gone: an end, if there is no other."""
        session = digest_of(sid)
        # if it can't be sent, whoever removed the last key must not keep the cookie
        self.decision = Cookie.DELETE
        # the incarnation lets the script know this ending when its call is sent again
        tombstone = DESTROYED + new_incarnation()
        exchange = self._store.prune(session, incarnation, self._idle, changes, tombstone)
        deferred = self._batch.defer(self._store.wire, exchange)

        def verdict() -> Cookie:
            pruned = self._settled(session, deferred, Pruned.GONE)
            if pruned is Pruned.ENDED:
                return Cookie.DELETE
            if pruned is Pruned.GONE:
                self._store.interrupted(session)
                return Cookie.KEEP
            return self._cookie_of_a_write(changes)

        return verdict

    def _touch(self, sid: str, incarnation: bytes) -> Verdict:
        contents = self._contents
        session = digest_of(sid)
        exchange = self._store.touch(session, incarnation, self._idle)
        deferred = self._batch.defer(self._store.wire, exchange)

        def verdict() -> Cookie:
            try:
                touched = self._settled(session, deferred, False)
            except FAILURES as error:
                log.warning("session %s could not be prolonged: %s", session, error)
                return Cookie.KEEP
            send = touched and (contents.forced or contents.permanent)
            return Cookie.SET if send else Cookie.KEEP

        return verdict

    def _interrupted(self, sid: str) -> Verdict:
        self._store.interrupted(digest_of(sid))
        return _keep

    def _settled(self, session: str, deferred: Deferred[T], absent: T) -> T:
        outcome: Outcome[T] | None = deferred.outcome
        assert outcome is not None  # noqa: S101  # the batch has finished
        return self._store.settled(session, outcome, absent)


def _keep() -> Cookie:
    return Cookie.KEEP


def _delete() -> Cookie:
    return Cookie.DELETE
