"""What is said of failures: log messages that do not repeat themselves, or the error itself.

A failing server must not fill the disk as well.
"""

from __future__ import annotations

import logging
import time
from typing import Literal

from flask_redis_kit.cache.errors import InvalidationError

logger = logging.getLogger("flask_redis_kit.cache")
INTERVAL = 60.0  # seconds between two messages about the same failure
_MOST = 10_000


class Notices:
    """Remembers what one application's cache has said. ``on_error`` is ``REDIS_CACHE_ON_ERROR``."""

    def __init__(self, on_error: Literal["compute", "raise"] = "compute") -> None:
        self._raises = on_error == "raise"
        self._said: dict[object, float] = {}

    def once(self, about: object, message: str, *args: object) -> None:
        """Warn, if there was no warning about this yet."""
        if about not in self._said and len(self._said) < _MOST:
            self._said[about] = time.monotonic()
            logger.warning(message, *args)

    def failure(self, doing: str, error: Exception) -> None:
        """The server failed and the cache goes on without: at most one warning a minute each.

        Raises the error instead if the application wants that.
        """
        if self._raises:
            raise error
        now = time.monotonic()
        said = self._said.get(doing)
        if said is None or now - said >= INTERVAL:
            self._said[doing] = now
            logger.warning("The cache goes on without %s: %s", doing, error)

    def not_invalidated(self, error: InvalidationError) -> None:
        """An invalidation was lost, and the application goes on: each one is reported."""
        logger.error("%s", error)
