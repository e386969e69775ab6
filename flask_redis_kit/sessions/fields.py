"""The fields of a session: decoded when they are first used, compared when they are saved.

A change is found by encoding what the request used and comparing it with the bytes that were
loaded: that sees ``session["cart"].append(…)``, and sees that an equal value is no change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.sessions.changes import Changes

_ENCODED: Final[Any] = object()  # stands for a value that was not decoded yet
_IMMUTABLE: Final = frozenset({str, bytes, int, float, bool, type(None)})


class Fields:
    """Fields as they were loaded, and what became of them.

    ``report``  gets the name of a field that can't be decoded, and the error.
    """

    __slots__ = ("_assigned", "_codec", "_report", "_unreadable", "_values", "before")

    def __init__(
        self,
        codec: Codec,
        before: Mapping[str, bytes],
        report: Callable[[str, CodecError], None],
    ) -> None:
        self.before = before
        self._codec = codec
        self._report = report
        self._values: dict[str, Any] = dict.fromkeys(before, _ENCODED)
        self._assigned: set[str] = set()
        self._unreadable: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        return self._decoded(key) if value is _ENCODED else value

    def __setitem__(self, key: str, value: object) -> None:
        self._values[key] = value
        self._assigned.add(key)

    def __delitem__(self, key: str) -> None:
        self[key]  # what can't be decoded is not there
        del self._values[key]
        self._assigned.discard(key)

    def get(self, key: str) -> Any:
        """The value; None where there is none that can be read."""
        if key not in self._values:
            return None
        try:
            return self[key]
        except KeyError:
            return None

    def keys(self) -> list[str]:
        """The fields that are there and readable."""
        for key, value in list(self._values.items()):
            if value is _ENCODED:
                self.get(key)
        return list(self._values)

    def names(self) -> list[str]:
        """The fields that are there, readable or not known yet."""
        return list(self._values)

    def changes(self, *, removals: bool) -> Changes:
        """What is different from what was loaded. ``CodecError`` names the field at fault.

        ``removals``  whether any field can have been removed; saves looking for them.
        """
        before = self.before
        changed: dict[bytes, bytes] = {}
        for key, value in self._values.items():
            if value is _ENCODED or (type(value) in _IMMUTABLE and key not in self._assigned):
                continue
            data = self._encoded(key, value)
            if before.get(key) != data:
                changed[key.encode()] = data
        if not removals:
            return Changes(changed, [])
        gone = before.keys() - self._values.keys() - self._unreadable
        return Changes(changed, [key.encode() for key in before if key in gone])

    def all_encoded(self, changes: Changes) -> dict[bytes, bytes]:
        """All fields, for a session that gets another id."""
        fields = {key.encode(): data for key, data in self.before.items()}
        for name in changes.removed:
            del fields[name]
        return fields | changes.changed

    def saved(self, changes: Changes) -> None:
        """These changes are stored: what comes is compared with them."""
        before = dict(self.before)
        for name in changes.removed:
            del before[name.decode()]
        before.update((name.decode(), data) for name, data in changes.changed.items())
        self.before = before
        self._assigned.clear()

    def rebase(self, fresh: Mapping[str, bytes], changes: Changes) -> None:
        """Take up what is stored by now, and these changes of the request on top of it."""
        kept = {name.decode(): self._values[name.decode()] for name in changes.changed}
        self.before = fresh
        self._values = dict.fromkeys(fresh, _ENCODED) | kept
        self._assigned = set(kept)
        self._unreadable.clear()
        for name in changes.removed:
            self._values.pop(name.decode(), None)

    def _decoded(self, key: str) -> Any:
        try:
            value = self._codec.decode(self.before[key])
        except CodecError as error:
            del self._values[key]
            self._unreadable.add(key)
            self._report(key, error)
            raise KeyError(key) from None
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
