"""A streamed body that holds a place of a concurrency limit until it is closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Place:
    """What a response holds; ``release`` is called once, whoever gives it back first."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def give_back(self) -> None:
        """Release it; again does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()


class LeasedBody:
    """The chunks of a response; its place is given back at their end, or when it is closed.

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
        self.place = Place(release)
        self._chunks = chunks
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
            self.place.give_back()

    def close(self) -> None:
        """Close the body below, and give the place back."""
        try:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()
        finally:
            self.place.give_back()
