"""Tells what becomes of sessions: signals, counts, and the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from blinker import Signal
from redis.exceptions import ResponseError

from flask_redis_kit.core.counters import FeatureCounters
from flask_redis_kit.core.exchange import Outcome
from flask_redis_kit.sessions import signals

T = TypeVar("T")
log = logging.getLogger("flask_redis_kit.sessions")

SUBJECT: Final = "session"
"""The name under which all is counted."""
_WARNED_AT_MOST = 1000
_WHY = {
    "ended": "ended while a request was changing it",
    "overtaken": "was taken over by another request, as this one held it for too long",
    "unavailable": "could not be stored",
}


def _uncounted(_: str) -> None: ...


class Witness:
    """The sender of the signals of one application. Thread-safe."""

    def __init__(self, counters: FeatureCounters | None) -> None:
        self.counters = counters
        self.count: Callable[[str], None] = (
            _uncounted if counters is None else partial(counters.add, SUBJECT)
        )
        """Count one more of this outcome."""
        self._warned: set[tuple[str, str | None]] = set()

    def created(self, session: str, user: str | None) -> None:
        """A session is new."""
        self._tell(signals.session_created, "created", session=session, user=user)

    def adopted(self, session: str, user: str | None) -> None:
        """A session of Flask-Session is one of ours now."""
        self._tell(signals.session_adopted, "adopted", session=session, user=user)

    def rotated(self, session: str, previous: str, user: str | None) -> None:
        """A session goes on under another id."""
        self._tell(
            signals.session_rotated, "rotated", session=session, previous=previous, user=user
        )

    def destroyed(self, session: str) -> None:
        """A session ended from within."""
        self._tell(signals.session_destroyed, "destroyed", session=session)

    def revoked(self, session: str, user: str | None, reason: str) -> None:
        """A session was ended from elsewhere."""
        log.info("session %s was ended: %s", session, reason)
        self._tell(signals.session_revoked, "revoked", session=session, user=user, reason=reason)

    def rejected(self, session: str | None, reason: str) -> None:
        """A cookie was none of ours."""
        self._tell(signals.session_rejected, "rejected", session=session, reason=reason)

    def interrupted(self, session: str, reason: str) -> str:
        """A request's changes were dropped; says why."""
        said = f"session {session} {_WHY[reason]}: changes dropped"
        log.log(logging.INFO if reason == "ended" else logging.WARNING, "%s", said)
        self._tell(signals.session_interrupted, "interrupted", session=session, reason=reason)
        return said

    def unreadable(self, session: str, field: str | None, error: Exception) -> None:
        """A session, or a field, counts as absent; logged once for each."""
        self._tell(
            signals.session_unreadable, "unreadable", session=session, field=field, error=error
        )
        if (session, field) in self._warned:
            return
        if len(self._warned) >= _WARNED_AT_MOST:
            self._warned.clear()
        self._warned.add((session, field))
        part = "is no session" if field is None else f"has an unreadable field {field!r}"
        log.warning("session %s %s, which counts as absent: %s", session, part, error)

    def settled(self, session: str, outcome: Outcome[T], absent: T) -> T:
        """The value of an outcome; ``absent`` where the key holds another program's value."""
        error = outcome.error
        if error is None:
            return outcome.result()
        if isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE"):
            self.unreadable(session, None, error)
            return absent
        return outcome.result()

    def _tell(self, signal: Signal, outcome: str, **facts: Any) -> None:
        self.count(outcome)
        if signal.receivers:
            signal.send(self, **facts)
