"""The fields of a session: decoded when they are first used, compared when they are saved.

A change is found by encoding what the request used and comparing it with the bytes that were
loaded: that sees ``session["cart"].append(…)``, and sees that an equal value is no change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.sessions.changes import Changes
from flask_redis_kit.sessions.record import StoredFields

_ABSENT: Final[Any] = object()
_IMMUTABLE: Final = frozenset({str, bytes, int, float, bool, type(None)})


class Fields:
    """Fields as they were loaded, and what became of them.

    ``report``  gets the name of a field that can't be decoded, and the error.
    """

    __slots__ = ("_assigned", "_codec", "_gone", "_report", "_unreadable", "_values", "before")

    def __init__(
        self,
        codec: Codec,
        before: Mapping[str, bytes],
        report: Callable[[str, CodecError], None],
    ) -> None:
        self.before = StoredFields.of(before)
        self._codec = codec
        self._report = report
        self._values: dict[str, Any] = {}
        self._assigned: set[str] = set()
        self._gone: dict[str, None] = {}
        self._unreadable: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        value = self._values.get(key, _ABSENT)
        if value is _ABSENT:
            value = self._decoded(key)
            if value is _ABSENT:
                raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: object) -> None:
        self._values[key] = value
        self._assigned.add(key)
        self._gone.pop(key, None)

    def __delitem__(self, key: str) -> None:
        self[key]  # what can't be decoded is not there
        del self._values[key]
        self._assigned.discard(key)
        self._gone[key] = None

    def __contains__(self, key: str) -> bool:
        """Whether it is there, readable or not known yet."""
        return key in self._values or (self._may_hold(key) and key in self.before)

    def get(self, key: str) -> Any:
        """The value; None where there is none that can be read."""
        value = self._values.get(key, _ABSENT)
        if value is _ABSENT:
            value = self._decoded(key)
        return None if value is _ABSENT else value

    def keys(self) -> list[str]:
        """The fields that are there and readable."""
        for key in self.names():
            self.get(key)
        return self.names()

    def names(self) -> list[str]:
        """The fields that are there, readable or not known yet."""
        before, values = self.before, self._values
        stored = [key for key in before if key in values or self._may_hold(key)]
        return stored + [key for key in values if key not in before]

    def changes(self) -> Changes:
        """What is different from what was loaded. ``CodecError`` names the field at fault.

        Looks at the fields that were used alone, however many there are.
        """
        before, assigned = self.before, self._assigned
        changed: dict[bytes, bytes] = {}
        for key, value in self._values.items():
            if key in assigned or type(value) not in _IMMUTABLE:
                data = self._encoded(key, value)
                if before.get(key) != data:
                    changed[key.encode()] = data
        if not self._gone:
            return tuple.__new__(Changes, (changed, []))  # faster than by its arguments' names
        gone = [k for k in self._gone if k not in self._unreadable and k in before]
        return Changes(changed, [key.encode() for key in gone])

    def hold_first(self, keys: Iterable[str], text: bytes) -> bool:
        """Whether the first of these fields that is stored holds this text; nothing is decoded."""
        for key in keys:
            data = self.before.get(key)
            if data is not None:
                return bool(data == self._codec.encode(text.decode(errors="replace")))
        return False

    def all_encoded(self, changes: Changes) -> dict[bytes, bytes]:
        """All fields, for a session that gets another id."""
        fields = self.before.encoded()
        for name in changes.removed:
            del fields[name]
        return fields | changes.changed

    def saved(self, changes: Changes) -> None:
        """These changes are stored: what comes is compared with them."""
        self.before = self.before.after(changes.changed, changes.removed)
        self._assigned.clear()
        self._gone.clear()

    def rebase(self, fresh: Mapping[str, bytes], changes: Changes) -> None:
        """Take up what is stored by now, and these changes of the request on top of it."""
        kept = {name.decode(): self._values[name.decode()] for name in changes.changed}
        self.before = StoredFields.of(fresh)
        self._values = kept
        self._assigned = set(kept)
        self._gone = {name.decode(): None for name in changes.removed}
        self._unreadable.clear()

    def _may_hold(self, key: str) -> bool:
        """Whether what is stored under this name counts."""
        return key not in self._gone and key not in self._unreadable

    def _decoded(self, key: str) -> Any:
        data = self.before.get(key)
        if data is None or not self._may_hold(key):
            return _ABSENT
        try:
            value = self._codec.decode(data)
        except CodecError as error:
            self._unreadable.add(key)
            self._report(key, error)
            return _ABSENT
        self._values[key] = value
        return value

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
