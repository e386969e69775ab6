"""A streamed body that holds a place of a concurrency limit until it is closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class LeasedBody:
    """The chunks of a response; ``release`` is called once, at their end or when it is closed.

    Before a lease runs out ``renew`` is called, between two chunks, at most every ``every``
    seconds.
    A body that is neither read nor closed stops renewing, and its lease ends by itself.
    """

    def __init__(
        self,
        chunks: Iterable[Any],
        release: Callable[[], None],
        renew: Callable[[], None],
        every: float,
    ) -> None:
        self._chunks = chunks
        self._release: Callable[[], None] | None = release
        self._renew = renew
        self._every = every

    def __iter__(self) -> Iterator[Any]:
        due = time.monotonic() + self._every
        try:
            for chunk in self._chunks:
                yield chunk
                if time.monotonic() >= due:
                    self._renew()
                    due = time.monotonic() + self._every
        finally:
            self._end()

    def close(self) -> None:
        """Close the body below, and release."""
        try:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()
        finally:
            self._end()

    def _end(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()
