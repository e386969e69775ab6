"""What one request sees of a session, and what it wants to become of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.sessions.changes import PERMANENT, Changes
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.fields import Fields, checked_key
from flask_redis_kit.sessions.ids import digest_of, new_id
from flask_redis_kit.sessions.record import LIFE, NOTHING, Loaded

log = logging.getLogger("flask_redis_kit.sessions")


class Contents:
    """One session in one request. Thread-safe; loads when it has to.

    ``origin``   the id that the request brought; None: no usable one.
    ``load``     fetches what is stored under it.
    ``report``   gets the name of a field that can't be decoded, and the error.
    ``session``  the hash of ``origin``, where it is known.
    """

    def __init__(
        self,
        codec: Codec,
        origin: str | None = None,
        load: Callable[[], Loaded] = lambda: NOTHING,
        report: Callable[[str, CodecError], None] = lambda _, __: None,
        config: SessionsConfig = SessionsConfig(),  # noqa: B008  # it is frozen
        session: str | None = None,
    ) -> None:
        self.origin = origin
        self.lock = threading.RLock()
        self.used = False
        """Read or written by the request."""
        self.written = False
        self.forced = False
        """The user set ``modified`` himself."""
        self.ended = False
        """The session of ``origin`` is to end, whatever it holds."""
        self.ending = NOTHING
        """What is known of the session that is to end."""
        self.rotated = False
        self.saved = False
        self.degraded = False
        """It could not be read, and counts as empty."""
        self._config = config
        self._codec = codec
        self._load = load
        self._report = report
        self._wish: bool | None = None
        self._life: float | None = None
        self._life_is_wished = False
        self._sid = origin
        self.loaded: Loaded | None = None
        self.fields: Fields  # from when it was loaded
        self._hashed = None if session is None else (origin, session)
        if origin is None:
            self._become(NOTHING)

    # the request's side

    def __getitem__(self, key: str) -> Any:
        with self.lock:
            return self._use()[key]

    def __setitem__(self, key: str, value: object) -> None:
        checked_key(key)
        with self.lock:
            self._use()[key] = value
            self._wrote()

    def __delitem__(self, key: str) -> None:
        with self.lock:
            del self._use()[key]
            self._wrote()

    def keys(self) -> list[str]:
        """The fields that are there and readable."""
        with self.lock:
            return self._use().keys()

    def clear(self) -> None:
        """End this session without loading it; what is set from now on begins another one."""
        with self.lock:
            if self.loaded is not None and self.loaded.incarnation is None and not self.degraded:
                if not self.ended:
                    self.origin = None  # known to be nowhere
            elif self.loaded is not None:
                self.ending = self.loaded
            self.ended = self.used = True
            self.rotated = False
            self._wish = self._sid = None
            self._become(NOTHING)
            self._life, self._life_is_wished = None, False
            self._wrote()

    def regenerate(self) -> None:
        """Move what is there to a new id."""
        with self.lock:
            self._use()
            if self.stored:
                self.rotated = True
                self._sid = None
                self._wrote()

    @property
    def stored(self) -> bool:
        """Whether the server holds this session; loads it."""
        with self.lock:
            self._use()
            return self.loaded_now.incarnation is not None

    @property
    def sid(self) -> str:
        """The id it has, or will have when it is saved."""
        with self.lock:
            if self._sid is None:
                self._sid = new_id(self._config.id_length)
            return self._sid

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser."""
        with self.lock:
            if self._wish is not None:
                return self._wish
            if self.loaded is None or not self.used:
                self._use()
            return self._permanent_now()

    @permanent.setter
    def permanent(self, value: bool) -> None:
        """Remembered until something else needs the session: many set it on every request."""
        with self.lock:
            self._wish = bool(value)
            if self.loaded is not None:
                self._grant()

    def set_life(self, seconds: float | None) -> None:
        """How long it is to live without being used; None: as the application says."""
        with self.lock:
            self._life, self._life_is_wished = seconds, True
            self._wrote()

    # the saving side

    def ready(self) -> bool:
        """Whether there may be something to save. Loads for a mere ``permanent = …``."""
        with self.lock:
            wished = self.forced or self._wish is not None or self._life_is_wished
            if self.loaded is None and wished:
                try:
                    self._use()
                except FAILURES as error:
                    log.warning("session.permanent, modified or set_expiry is lost: %s", error)
                    return False
            return self.used or self.written

    def changes(self) -> Changes:
        """What is different from what was loaded. ``CodecError`` names the field at fault."""
        with self.lock:
            if self.loaded_now.incarnation is None and not self.empty:
                self._permanent_by_default()
            return self.fields.changes()

    @property
    def session(self) -> str:
        """The hash of the id that the request brought, or that it was stored under since."""
        known = self._hashed
        if known is None or known[0] != self.origin:
            known = self._hashed = self.origin, digest_of(self.origin or "")
        return known[1]

    @property
    def life(self) -> float | None:
        """How long it lives without being used, if that was set for it."""
        return self._life if self._life_is_wished else self.loaded_now.number(LIFE)

    @property
    def asks(self) -> bool:
        """Whether something else than its fields is to change: its id, its time, its cookie."""
        return self.rotated or self.forced or self._life_is_wished

    @property
    def empty(self) -> bool:
        """Whether there is nothing worth storing: ``permanent`` alone is not."""
        with self.lock:
            return all(key == PERMANENT for key in self.fields.names())

    @property
    def identity_keys(self) -> tuple[str, ...]:
        """The keys that say who the user is."""
        return self._config.identity_keys

    @property
    def user(self) -> object:
        """Who is logged in, None: nobody."""
        with self.lock:
            fields = self.fields
            for key in self.identity_keys:
                value = fields.get(key)
                if value is not None:
                    return value
            return None

    @property
    def loaded_now(self) -> Loaded:
        """What was loaded; an error of ours if nothing was."""
        assert self.loaded is not None  # noqa: S101  # callers have made sure
        return self.loaded

    def became(
        self, sid: str, stored: Loaded, changes: Changes, session: str | None = None
    ) -> None:
        """It is stored like this now, under this id, whose hash is ``session`` if that is new."""
        with self.lock:
            self.origin = self._sid = sid
            if session is not None:
                self._hashed = sid, session
            self.loaded = stored
            self.fields.saved(changes)
            self.ended = self.rotated = self.written = self.forced = False
            self._life_is_wished = False

    def over(self) -> None:
        """It has ended, and nothing follows it so far."""
        with self.lock:
            self.origin = self._sid = None
            self.ended = self.rotated = self.written = self.forced = False
            self.ending = NOTHING
            self._become(NOTHING)

    def lose(self) -> None:
        """What the request wrote is dropped, as its session is another's matter by now."""
        with self.lock:
            self.ended = self.rotated = self.written = self.forced = False
            self._life_is_wished = False
            self._become(NOTHING._replace(rotated=True))

    def rebase(self, fresh: Loaded) -> bool:
        """Take up what is stored by now, under the changes of the request.

        False: it has ended, and the changes, if there are any, are dropped.
        """
        with self.lock:
            before, self.used = self.loaded, True
            if before is not None and before.incarnation is not None:
                changes = self.fields.changes()
                if changes and before.incarnation != fresh.incarnation:
                    self._become(fresh)
                    return False
                if changes:
                    self.loaded = fresh
                    self.fields.rebase(fresh.fields, changes)
                    return True
            self._become(fresh)
            return True

    def reload(self, fresh: Loaded) -> None:
        """Forget all that the request did, and take up what is stored by now."""
        with self.lock:
            self.ended = self.rotated = self.written = self.forced = self.degraded = False
            self._wish, self._life_is_wished = None, False
            self._sid = self.origin
            self._become(fresh)
            self.used = True

    def _use(self) -> Fields:
        if self.loaded is None:
            try:
                found = self._load()
            except FAILURES as error:
                if self._config.on_load_error == "raise":
                    raise
                log.warning("a session counts as empty in this request: %s", error)
                self.degraded = True
                found = NOTHING
            self._become(found)
        self.used = True
        return self.fields

    def _become(self, found: Loaded) -> None:
        self.loaded = found
        self.fields = Fields(self._codec, found.fields, self._report)
        if found.incarnation is None:
            self._sid = None  # an id that we never gave out is not taken over
        self._grant()

    def _grant(self) -> None:
        wish, self._wish = self._wish, None
        if wish is not None and self._permanent_now() != wish:
            self.fields[PERMANENT] = wish
            self._wrote()

    def _permanent_now(self) -> bool:
        permanent = self.fields.get(PERMANENT)
        if permanent is None and self.loaded_now.incarnation is None:
            return PERMANENT not in self.fields and self._config.starts_permanent
        return bool(permanent)

    def _permanent_by_default(self) -> None:
        if self._config.starts_permanent and PERMANENT not in self.fields:
            self.fields[PERMANENT] = True

    def _wrote(self) -> None:
        if self.saved:
            log.warning(
                "the session was changed after it was saved: the change is lost, unless "
                "session.commit() follows"
            )
        self.written = True
