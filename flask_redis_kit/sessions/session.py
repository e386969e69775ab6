"""The object behind ``flask.session``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from flask.sessions import SessionMixin

from flask_redis_kit.core.session_watch import EVERY_KEY, moments
from flask_redis_kit.sessions.changes import PERMANENT
from flask_redis_kit.sessions.contents import Contents
from flask_redis_kit.sessions.record import NOTHING
from flask_redis_kit.sessions.saving import Saving
from flask_redis_kit.sessions.source import Source


class RedisSession(SessionMixin):
    """A mapping that is loaded when it is first read, and saved field by field.

    One round trip at the first use of its data, shared with whatever the request needs first; none
    for ``sid``, ``clear()`` and setting ``permanent``. Keys are str, values what the kit's codec
    knows. Changes inside a value (``session["cart"].append(1)``) are saved too. Any use may raise
    ``SessionStoreUnavailable``. Safe to share with threads of the same request.
    """

    accessed = False
    tracks_access = True
    """``accessed`` tells of every way to read it."""

    def __init__(
        self, contents: Contents, saving: Saving | None = None, source: Source | None = None
    ) -> None:
        self.contents = contents
        self.saving = saving
        self.source = source
        self.read_at: dict[str, int] = {}
        """When each key was read last: see ``session_watch.keys_read``."""

    def __getitem__(self, key: str) -> Any:
        self.accessed = True
        self.read_at[key] = next(moments)
        return self.contents[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.accessed = True
        self.contents[key] = value

    def __delitem__(self, key: str) -> None:
        self._read(key)
        del self.contents[key]

    def __iter__(self) -> Iterator[str]:
        self._read(EVERY_KEY)
        return iter(self.contents.keys())

    def __len__(self) -> int:
        self._read(EVERY_KEY)
        return len(self.contents.keys())

    def _read(self, key: str) -> None:
        self.accessed = True
        self.read_at[key] = next(moments)

    def peek(self) -> dict[str, Any]:
        """What is in it, if it was loaded, without reading it: for who decides whose a page is."""
        contents = self.contents
        keys = () if contents.loaded is None else contents.keys()
        return {key: contents[key] for key in keys}

    @property
    def identity_keys(self) -> tuple[str, ...]:
        """The keys that say who the user is: ``SESSION_IDENTITY_KEYS``."""
        return self.contents.identity_keys

    def clear(self) -> None:
        """End this session: a logout. What is set afterwards begins a new one, with a new id.

        Needs no load: one round trip at the end of the request.
        """
        self.accessed = True
        self.contents.clear()

    def destroy(self) -> None:
        """The same as ``clear()``."""
        self.clear()

    def regenerate(self) -> None:
        """Give the session a new id and keep its data; the old id is dead after this request.

        A change of ``session["_user_id"]`` or ``session["user_id"]`` does it by itself, and so does
        setting something after ``clear()``.
        """
        self.accessed = True
        self.contents.regenerate()

    def commit(self) -> None:
        """Save now, not at the end of the request: before a long poll, or in a streamed body.

        One round trip, none if nothing changed. Raises what the server raised, or
        ``SessionInterrupted`` if ``SESSION_ON_INTERRUPT`` says so. Once the response has begun it
        can write to a session, but no cookie can be sent: ``RuntimeError`` for a new id.
        """
        self.accessed = True
        if self.saving is not None:
            self.saving.commit()

    def reload(self) -> None:
        """Forget the changes of this request, and see what is stored by now. One round trip."""
        self.accessed = True
        if self.saving is not None:
            source = self.source_now
            self.contents.reload(NOTHING if source is None else source.again())

    @property
    def source_now(self) -> Source | None:
        """Where it lies: after ``commit()`` under another id, perhaps, than the request brought."""
        saving, source, sid = self.saving, self.source, self.contents.origin
        if saving is None or sid is None or (source is not None and source.sid == sid):
            return source
        self.source = source = Source(saving.store, saving.batch, sid)
        source.withdraw()
        return source

    def set_expiry(self, after: timedelta | float | None) -> None:
        """How long this session lives without being used: a timedelta or seconds.

        None: as long as any other (``SESSION_IDLE_TIMEOUT``). Stored with the session, and kept
        when it gets another id; ``SESSION_ABSOLUTE_TIMEOUT`` still ends it. Whether its cookie
        outlives the browser is up to ``permanent``.
        """
        self.accessed = True
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not (seconds >= 1 and math.isfinite(seconds)):
            raise ValueError(f"set_expiry({after!r}): give a timedelta or seconds, 1 or more.")
        self.contents.set_life(None if seconds is None else math.ceil(seconds))

    @property
    def sid(self) -> str:
        """The id in the cookie: a secret. It changes at the end of a request that logs in."""
        self._read("session.sid")  # a page that shows it is this visitor's alone
        return self.contents.sid

    @property
    def new(self) -> bool:  # type: ignore[override]  # a plain attribute there
        """Whether the server holds nothing under this id yet. Loads."""
        self._read("session.new")
        return not self.contents.stored

    @property
    def is_new(self) -> bool:
        """The same as ``new``."""
        return self.new

    @property
    def created_at(self) -> datetime | None:
        """When it began (UTC), None if it is not stored yet. Loads; another id keeps it."""
        self._read("session.created_at")
        created = self.contents.loaded_now.created if self.contents.stored else None
        return None if created is None else datetime.fromtimestamp(created, UTC)

    @property
    def degraded(self) -> bool:
        """It could not be read and counts as empty: ``SESSION_ON_LOAD_ERROR="anonymous"``."""
        return self.contents.degraded

    @property
    def modified(self) -> bool:
        """Whether a key was set or deleted. Set it True to send the cookie again."""
        return self.contents.written or self.contents.forced

    @modified.setter
    def modified(self, value: bool) -> None:
        self.contents.forced = bool(value)

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser; stored as ``session["_permanent"]``."""
        self._read(PERMANENT)
        return self.contents.permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self.accessed = True
        self.contents.permanent = value

    def __repr__(self) -> str:
        if self.contents.loaded is None:
            return "<RedisSession, not loaded>"
        return f"<RedisSession {dict(self)!r}>"
