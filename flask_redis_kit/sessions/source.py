"""Where a request's session comes from: loaded along with something else, or for itself."""

from __future__ import annotations

from typing import Any

from flask_redis_kit.core.exchange import Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.request import Pending, RequestBatch
from flask_redis_kit.sessions.errors import SessionStoreUnavailable
from flask_redis_kit.sessions.ids import digest_of
from flask_redis_kit.sessions.record import NOTHING, Loaded
from flask_redis_kit.sessions.span import deadline_passed
from flask_redis_kit.sessions.store import SessionStore


class Source:
    """Loads the session of one request. ``session``: its hashed id."""

    def __init__(self, store: SessionStore, batch: RequestBatch, sid: str) -> None:
        self.session = digest_of(sid)
        self._store = store
        self._batch = batch
        self._sid = sid
        self._pending = batch.prefetch(store.wire, store.load(self.session))
        before = store.predecessor
        self._before = None if before is None else batch.prefetch(store.wire, before.load(sid))

    def load(self) -> Loaded:
        """What is stored, with the first trip of the request."""
        self._batch.settle(self._pending)
        assert self._pending.outcome is not None  # noqa: S101  # settle() sets it
        return self.read(self._pending.outcome, self._before)

    def withdraw(self) -> None:
        """Don't load it along with what is sent next."""
        self._batch.withdraw(self._pending)

    def again(self) -> Loaded:
        """What is stored by now. One round trip."""
        exchange = self._store.load(self.session)
        return self.read(self._batch.call(self._store.wire, (exchange,))[0])

    def read(self, outcome: Outcome[Loaded], before: Pending[Any] | None = None) -> Loaded:
        """What was loaded. Raises ``SessionStoreUnavailable``.

        ``before``: what the predecessor has of it.
        """
        store = self._store
        try:
            found = store.settled(self.session, outcome, NOTHING)
            if before is not None:
                found = self._settled(found, before)
        except FAILURES as error:
            store.count("unavailable")
            raise unavailable(error) from error
        if found.incarnation is None:
            store.rejected(self.session, "ended" if found.ended else "unknown")
        elif deadline_passed(store.config, found):
            store.rejected(self.session, "unknown")
            return NOTHING
        else:
            store.count("loaded")
        return found

    def _settled(self, found: Loaded, before: Pending[Any]) -> Loaded:
        predecessor, batch, wire = self._store.predecessor, self._batch, self._store.wire
        batch.settle(before)
        if predecessor is None or before.outcome is None:
            return found
        return predecessor.settle(
            lambda exchanges: batch.call(wire, exchanges), self._sid, found, before.outcome
        )

    def unreadable(self, field: str, error: Exception) -> None:
        """Tell that a field can't be decoded."""
        self._store.unreadable(self.session, field, error)


def unavailable(error: Exception) -> SessionStoreUnavailable:
    """The error that a view sees of a server's failure."""
    return SessionStoreUnavailable(
        f"The session can't be read: {error}",
        address=getattr(error, "address", ""),
        retry_after=getattr(error, "retry_after", 1.0),
    )
