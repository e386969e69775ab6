"""What values were made of lately: a value that is read again and again is made once.

Nothing is kept from the server by this: it is asked each time, and sends what it has. Only if that
is, byte for byte, what it sent before, the result of then is taken: the decompressed bytes, or of
what nobody changes the value itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flask_redis_kit.cache.payload import COMPRESSED, unpacked
from flask_redis_kit.core.fork import renew_in_child

ROOM = 4_000_000
"""Bytes that one application keeps in a process at most: values as stored, and what was made."""

_OBJECTS = 1000
"""Bytes that the objects of one value take besides, as measured: of a small page they are most."""

Decode = Callable[[bytes | memoryview], Any]


class Shared:
    """Base of decoded values that nobody changes, so that many may have the same one."""

    __slots__ = ()


class Lately:
    """The values that one application has read lately. Thread-safe.

    ``limit`` is how many bytes a value may have at most, ``room`` how many are kept of all.
    """

    __slots__ = ("__weakref__", "_kept", "_limit", "_lock", "_room", "_size")

    def __init__(self, limit: int, room: int = ROOM) -> None:
        self._limit = limit
        self._room = room
        self._begin()
        renew_in_child(self)

    def _begin(self) -> None:
        self._kept: dict[str, tuple[bytes, bytes | Shared, int]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that doesn't exist here."""
        self._begin()

    def value(self, name: str, stored: bytes, start: int, flags: int, decode: Decode) -> Any:
        """The value of which these bytes were stored, its payload behind ``start``.

        ``name`` is the digest that it is stored under. ``CodecError`` if it can't be read.
        """
        kept = self._kept.get(name)
        if kept is not None and kept[0] == stored:
            known = kept[1]
            return known if isinstance(known, Shared) else decode(known)
        data = memoryview(stored)[start:]
        if flags & COMPRESSED:
            plain = unpacked(data, flags, self._limit)
            value = decode(plain)
            self._keep(name, stored, value if isinstance(value, Shared) else plain, len(plain))
            return value
        value = decode(data)
        if isinstance(value, Shared):
            self._keep(name, stored, value, len(data))
        return value

    def _keep(self, name: str, stored: bytes, made: bytes | Shared, size: int) -> None:
        """Keep this one, and forget the oldest ones for it; one alone may take a quarter."""
        size += len(stored) + _OBJECTS
        with self._lock:
            before = self._kept.pop(name, None)
            if before is not None:
                self._size -= before[2]
            if size > self._room // 4:
                return
            while self._size + size > self._room:
                oldest = self._kept.pop(next(iter(self._kept)))
                self._size -= oldest[2]
            self._kept[name] = stored, made, size
            self._size += size
