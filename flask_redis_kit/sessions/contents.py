"""What one request sees of a session, and what it changed.

Fields are decoded when they are first used. A change is found by encoding what the request used and
comparing it with the bytes that were loaded: that sees ``session["cart"].append(…)``, and sees that
an equal value is no change.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.sessions.changes import IDENTITY, PERMANENT, Changes
from flask_redis_kit.sessions.ids import new_id
from flask_redis_kit.sessions.store import NOTHING, Loaded

log = logging.getLogger("flask_redis_kit.sessions")

_ENCODED: Final[Any] = object()  # stands for a value that was not decoded yet
_IMMUTABLE: Final = frozenset({str, bytes, int, float, bool, type(None)})


class Contents:
    """The fields of one session in one request. Thread-safe; loads when it has to.

    ``origin``   the id that the request brought; None: no usable one.
    ``load``     fetches what is stored under it.
    ``report``   gets the name of a field that can't be decoded, and the error.
    """

    def __init__(
        self,
        codec: Codec,
        origin: str | None = None,
        load: Callable[[], Loaded] = lambda: NOTHING,
        report: Callable[[str, CodecError], None] = lambda _, __: None,
    ) -> None:
        self.origin = origin
        self.loaded: Loaded | None = NOTHING if origin is None else None
        self.used = False
        """Read or written by the request."""
        self.written = False
        self.forced = False
        """The user set ``modified`` himself."""
        self.ended = False
        """The session of ``origin`` is to end, whatever it holds."""
        self.rotated = False
        self.saved = False
        self._codec = codec
        self._load = load
        self._report = report
        self._lock = threading.RLock()
        self._values: dict[str, Any] = {}
        self._assigned: set[str] = set()
        self._unreadable: set[str] = set()
        self._wish: bool | None = None
        self._sid = origin

    # the request's side

    def __getitem__(self, key: str) -> Any:
        with self._lock:
            value = self._use()[key]
            return self._decoded(key) if value is _ENCODED else value

    def __setitem__(self, key: str, value: object) -> None:
        checked_key(key)
        with self._lock:
            self._use()[key] = value
            self._assigned.add(key)
            self._wrote()

    def __delitem__(self, key: str) -> None:
        with self._lock:
            self[key]  # what can't be decoded is not there
            del self._values[key]
            self._assigned.discard(key)
            self._wrote()

    def keys(self) -> list[str]:
        """The fields that are there and readable."""
        with self._lock:
            for key, value in list(self._use().items()):
                if value is _ENCODED:
                    self._try_decoding(key)
            return list(self._values)

    def clear(self) -> None:
        """End this session without loading it; what is set from now on begins another one."""
        with self._lock:
            self.ended = self.used = True
            self.rotated = False
            if self.loaded is not None and self.loaded.incarnation is None:
                self.origin = None  # known to be nowhere
            self.loaded = NOTHING
            self._values = {}
            self._assigned = set()
            self._unreadable = set()
            self._wish = self._sid = None
            self._wrote()

    def regenerate(self) -> None:
        """Move what is there to a new id."""
        with self._lock:
            self._use()
            if self.stored:
                self.rotated = True
                self._sid = None
                self._wrote()

    @property
    def stored(self) -> bool:
        """Whether the server holds this session; loads it."""
        with self._lock:
            self._use()
            return self.loaded_now.incarnation is not None

    @property
    def sid(self) -> str:
        """The id it has, or will have when it is saved."""
        with self._lock:
            if self._sid is None:
                self._sid = new_id()
            return self._sid

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser."""
        with self._lock:
            if self._wish is not None:
                return self._wish
            try:
                return bool(self[PERMANENT])
            except KeyError:
                return False

    @permanent.setter
    def permanent(self, value: bool) -> None:
        """Remembered until something else needs the session: many set it on every request."""
        with self._lock:
            self._wish = bool(value)
            if self.loaded is not None:
                self._grant()

    # the saving side

    def ready(self) -> bool:
        """Whether there may be something to save. Loads for a mere ``permanent = …``."""
        with self._lock:
            if self.loaded is None and (self.forced or self._wish is not None):
                try:
                    self._use()
                except FAILURES as error:
                    log.warning("session.permanent or modified = … is lost: %s", error)
                    return False
            return self.used or self.written

    def changes(self) -> Changes:
        """What is different from what was loaded. ``CodecError`` names the field at fault."""
        with self._lock:
            before = self.loaded_now.fields
            changed: dict[bytes, bytes] = {}
            for key, value in self._values.items():
                if value is _ENCODED or (type(value) in _IMMUTABLE and key not in self._assigned):
                    continue
                data = self._encoded(key, value)
                if before.get(key) != data:
                    changed[key.encode()] = data
            if not self.written:
                return Changes(changed, [])
            gone = before.keys() - self._values.keys() - self._unreadable
            removed = [key.encode() for key in before if key in gone]
            return Changes(changed, removed)

    def fields(self, changes: Changes) -> dict[bytes, bytes]:
        """All fields, encoded: for a session that gets a new id."""
        before = {key.encode(): data for key, data in self.loaded_now.fields.items()}
        for name in changes.removed:
            del before[name]
        return before | changes.changed

    @property
    def empty(self) -> bool:
        """Whether there is nothing worth storing: ``permanent`` alone is not."""
        with self._lock:
            return all(key == PERMANENT for key in self._values)

    @property
    def user(self) -> object:
        """Who is logged in, None: nobody."""
        with self._lock:
            for key in IDENTITY:
                value = self._values.get(key)
                if value is _ENCODED:
                    value = self._try_decoding(key)
                if value is not None:
                    return value
            return None

    @property
    def loaded_now(self) -> Loaded:
        """What was loaded; an error of ours if nothing was."""
        assert self.loaded is not None  # noqa: S101  # callers have made sure
        return self.loaded

    def moved(self, sid: str) -> None:
        """It was stored under this id."""
        with self._lock:
            self._sid = sid

    def _use(self) -> dict[str, Any]:
        if self.loaded is None:
            self.loaded = loaded = self._load()
            self._values = dict.fromkeys(loaded.fields, _ENCODED)
            if loaded.incarnation is None:
                self._sid = None  # an id that we never gave out is not taken over
            self._grant()
        self.used = True
        return self._values

    def _grant(self) -> None:
        wish, self._wish = self._wish, None
        if wish is None:
            return
        value = self._values.get(PERMANENT)
        if value is _ENCODED:
            value = self._try_decoding(PERMANENT)
        if bool(value) != wish:
            self._values[PERMANENT] = wish
            self._assigned.add(PERMANENT)
            self._wrote()

    def _wrote(self) -> None:
        if self.saved:
            log.warning("the session was changed after it was saved: the change is lost")
        self.written = True

    def _decoded(self, key: str) -> Any:
        try:
            value = self._codec.decode(self.loaded_now.fields[key])
        except CodecError as error:
            del self._values[key]
            self._unreadable.add(key)
            self._report(key, error)
            raise KeyError(key) from None
        self._values[key] = value
        return value

    def _try_decoding(self, key: str) -> Any:
        try:
            return self._decoded(key)
        except KeyError:
            return None

    def _encoded(self, key: str, value: object) -> bytes:
        try:
            return self._codec.encode(value)
        except CodecError as error:
            raise CodecError(f"session[{key!r}] can't be stored. {error}") from error


def checked_key(key: object) -> None:
    """``TypeError`` or ``ValueError`` for what can't be the name of a field."""
    if not isinstance(key, str):
        raise TypeError(f"A session's keys are str: use {str(key)!r} instead of {key!r}.")
    if key.startswith("\0"):
        raise ValueError(f"session[{key!r}]: names that begin with NUL are the kit's own.")
    key.encode()
