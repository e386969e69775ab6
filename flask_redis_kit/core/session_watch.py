"""Who read the session of this request, told without reading it."""

from __future__ import annotations

from itertools import count
from typing import Any

from flask import Request

from flask_redis_kit.core.views import current_context

_WATCHES = "_redis_kit_session_watches"
_ACCESSED = "_redis_kit_session_accessed"

moments = count(1)
"""For sessions that tell when each key was read: later is more, in whatever thread."""
EVERY_KEY = ""
"""Stands for all keys, where one has looked at the session as a whole."""
OF_ITSELF = frozenset({"session.sid", "session.new", "session.created_at"})
"""Stand for what a session tells of itself: each visitor's its own, whatever is in it."""


def session_accessed() -> bool:
    """True if this request has read or written its session, without touching it.

    From Flask 3.1.3 on the ``session`` proxy itself counts as access, so the object is taken from
    the context's own attributes. Before, a cookie session didn't notice ``in``, ``len`` or a loop
    over it: there one that holds something, and doesn't say ``tracks_access``, counts as accessed.
    """
    context = current_context()
    if context is None:
        return False
    session = _session_of(context)
    accessed = getattr(session, "accessed", False) or vars(context.request).get(_ACCESSED, False)
    if accessed or "_session" in vars(context) or getattr(session, "tracks_access", False):
        return bool(accessed)
    return bool(session)


def session_modified() -> bool:
    """True if this request has written its session so far, as far as the session says so."""
    return bool(getattr(current_session(), "modified", False))


def current_session() -> Any:
    """The session of the request being handled, without touching it; None if there is none."""
    context = current_context()
    return None if context is None else _session_of(context)


def count_as_read() -> None:
    """Count the session of the current request, if there is one, as read as a whole: something is
    used that was made of it in an earlier request."""
    session = current_session()
    if session is None:
        return
    session.accessed = True
    read_at: dict[str, int] | None = getattr(session, "read_at", None)
    if read_at is not None:
        read_at[EVERY_KEY] = next(moments)


def keys_read(since: int = 0) -> frozenset[str] | None:
    """The keys of its session that this request has read, after a moment if one is given.

    None: the session doesn't tell (Flask's own, in the cookie).
    """
    read_at: dict[str, int] | None = getattr(current_session(), "read_at", None)
    if read_at is None:
        return None
    return frozenset([key for key, moment in read_at.copy().items() if moment > since])


class SessionWatch:
    """Tells whether the session was accessed since it began, whatever came before.

    Watches of one request may overlap, in threads and tasks that share it: each is told of every
    access in its time (of one in another's work, too: that errs to the safe side).
    """

    __slots__ = ("_began", "_request", "_seen", "_session")

    def __init__(self) -> None:
        self._began = next(moments)
        context = current_context()
        self._session: Any = None if context is None else _session_of(context)
        self._seen = False
        if self._session is not None:
            self._request = context.request
            self._note()
            self._watches().append(self)

    def end(self) -> bool:
        """Whether it was accessed; called once."""
        if self._session is None:
            return False
        self._note()
        watches = self._watches()
        watches.remove(self)
        if not watches:
            restore_access(self._request, self._session)
        return self._seen

    def keys(self) -> frozenset[str] | None:
        """Which keys were read since it began; None: the session doesn't tell."""
        return keys_read(self._began)

    def _watches(self) -> list[SessionWatch]:
        watches: list[SessionWatch] = vars(self._request).setdefault(_WATCHES, [])
        return watches

    def _note(self) -> None:
        """Tell every running watch of an access, and begin anew."""
        if getattr(self._session, "accessed", False):
            vars(self._request)[_ACCESSED] = True
            self._session.accessed = False
            for watch in list(self._watches()):
                watch._seen = True


def restore_access(request: Request, session: Any = None) -> None:
    """What watches took away, before anybody else asks: the session was accessed."""
    if vars(request).get(_ACCESSED):
        found = _session_of(current_context()) if session is None else session
        found.accessed = True


def _session_of(context: Any) -> Any:
    attributes = vars(context)
    return attributes.get("_session", attributes.get("session"))
