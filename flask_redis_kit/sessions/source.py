"""Where a request's session comes from: loaded along with something else, or for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.request import Pending, RequestBatch
from flask_redis_kit.sessions.errors import SessionStoreUnavailable
from flask_redis_kit.sessions.ids import digest_of
from flask_redis_kit.sessions.record import NOTHING, Loaded
from flask_redis_kit.sessions.span import deadline_passed
from flask_redis_kit.sessions.store import SessionStore


class Source:
    """Loads the session with an id, ``sid``, for one request. ``session``: its hash."""

    def __init__(self, store: SessionStore, batch: RequestBatch, sid: str) -> None:
        self.session = digest_of(sid)
        self._store = store
        self._batch = batch
        self.sid = sid
        look = batch.prefetch(store.wire, store.load(self.session))
        self._pendings: list[Pending[Any]] = [look]
        if store.predecessor is not None:
            before = store.predecessor.load(sid)
            self._pendings.append(batch.prefetch(store.wire, before))

    def load(self) -> Loaded:
        """What is stored, with the first trip of the request."""
        return self.read(list(map(self._outcome, self._pendings)))

    def withdraw(self) -> None:
        """Don't load it along with what is sent next."""
        for pending in self._pendings:
            self._batch.withdraw(pending)

    def again(self) -> Loaded:
        """What is stored by now. One round trip."""
        return self.read(self._batch.call(self._store.wire, self.looks()))

    def looks(self) -> list[Exchange[Any]]:
        """The exchanges that look at it; ``read`` makes a session of what comes of them."""
        before, look = self._store.predecessor, self._store.load(self.session)
        return [look] if before is None else [look, before.load(self.sid)]

    def read(self, outcomes: Sequence[Outcome[Any]]) -> Loaded:
        """What was loaded; takes over what the predecessor has. ``SessionStoreUnavailable``."""
        store = self._store
        try:
            found: Loaded = store.settled(self.session, outcomes[0], NOTHING)
            if store.predecessor is not None:
                found = store.predecessor.settle(self._send, self.sid, found, outcomes[1])
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

    def _outcome(self, pending: Pending[Any]) -> Outcome[Any]:
        self._batch.settle(pending)
        assert pending.outcome is not None  # noqa: S101  # settle() sets it
        return pending.outcome

    def _send(self, exchanges: Sequence[Exchange[Any]]) -> list[Outcome[Any]]:
        return self._batch.call(self._store.wire, exchanges)

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
