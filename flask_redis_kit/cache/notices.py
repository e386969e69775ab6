"""Log messages that do not repeat themselves: a failing server must not fill the disk as well."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("flask_redis_kit.cache")
INTERVAL = 60.0  # seconds between two messages about the same failure
_MOST = 10_000


class Notices:
    """Remembers what one application's cache has said."""

    def __init__(self) -> None:
        self._said: dict[object, float] = {}

    def once(self, about: object, message: str, *args: object) -> None:
        """Warn, if there was no warning about this yet."""
        if about not in self._said and len(self._said) < _MOST:
            self._said[about] = time.monotonic()
            logger.warning(message, *args)

    def failure(self, doing: str, error: Exception) -> None:
        """The server failed and the cache goes on without: at most one warning a minute each."""
        now = time.monotonic()
        said = self._said.get(doing)
        if said is None or now - said >= INTERVAL:
            self._said[doing] = now
            logger.warning("The cache goes on without %s: %s", doing, error)
