"""How long a value is fresh, and how long an old one may still be served."""

from __future__ import annotations

from typing import NamedTuple


class Lifetime(NamedTuple):
    """The time of a value, in ms.

    ``fresh_ms``  served as it is.
    ``grace_ms``  after that: served while one caller computes the next one, or if that fails.
    """

    fresh_ms: int
    grace_ms: int = 0

    @property
    def total_ms(self) -> int:
        """How long it is kept."""
        return self.fresh_ms + self.grace_ms
