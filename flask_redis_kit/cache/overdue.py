"""Invalidations that failed where nobody could do anything about it: to be made up for."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from flask_redis_kit.core.fork import renew_in_child

MOST = 10_000


class Overdue:
    """Tags that are to be invalidated as soon as the server is back. Thread-safe.

    Beyond 10,000 it is known only that there are too many: then everything is to be invalidated.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tags: dict[str, object] = {}
        renew_in_child(self)

    def add(self, names: Iterable[str]) -> None:
        """These were not invalidated."""
        with self._lock:
            self._tags.update((name, object()) for name in names)

    def all(self) -> dict[str, object]:
        """The tags; for ``done``."""
        if not self._tags:
            return {}
        with self._lock:
            return dict(self._tags)

    def done(self, tags: dict[str, object]) -> None:
        """These are invalidated; what was added meanwhile stays."""
        if not tags:
            return
        with self._lock:
            for name, mark in tags.items():
                if self._tags.get(name) is mark:
                    del self._tags[name]

    def after_fork(self) -> None:
        """In a forked child: the parent makes up for them, and the lock may be held."""
        self._lock = threading.Lock()
        self._tags = {}
