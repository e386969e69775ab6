"""What a limit is, and what came of checking one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

MAX_LIMIT = 1_000_000_000
MIN_WINDOW = 0.001
MAX_WINDOW = 10 * 365.25 * 86_400.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``limit`` units in any interval of ``window_us`` microseconds."""

    limit: int
    window_us: int

    @property
    def window(self) -> float:
        """The window in seconds."""
        return self.window_us / 1_000_000

    @classmethod
    def checked(cls, limit: object, window: object) -> Limit:
        """A limit from a user's arguments; ``TypeError`` or ``ValueError`` names the wrong one."""
        return cls(_checked_limit(limit), _window_us(window))


def _checked_limit(limit: object) -> int:
    if callable(limit):
        raise TypeError(
            "limit= must be a whole number, not a function. Write the decorator with its "
            "arguments: @rate_limit(limit=100, window=60)."
        )
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit= must be a whole number of requests, not {limit!r}.")
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit= must be between 1 and {MAX_LIMIT:,} requests, not {limit!r}.")
    return limit


def _window_us(window: object) -> int:
    if isinstance(window, timedelta):
        window = window.total_seconds()
    if isinstance(window, bool) or not isinstance(window, (int, float)):
        raise TypeError(f"window= must be a number of seconds or a timedelta, not {window!r}.")
    if not MIN_WINDOW <= window <= MAX_WINDOW:  # false for NaN too
        raise ValueError(
            f"window= must be between {MIN_WINDOW} s and ten years, not {window!r} seconds."
        )
    return round(window * 1_000_000)


class Demand(NamedTuple):
    """One unit asked of one limit for one identity.

    ``name``  whose requests are counted together: an endpoint, a function, or a name of the user's.
    ``tag``   the hash tag of ``key``: demands with the same tag share a Cluster slot.
    """

    name: str
    limit: Limit
    tag: str
    key: str


@dataclass(frozen=True, slots=True)
class RateLimitResult:
    """How one limit stands for one identity. Times are seconds from now.

    ``name``         of the limit: an endpoint, a function, or the one given to ``check``.
    ``limit``        requests admitted per ``window`` seconds.
    ``remaining``    requests that would be admitted now.
    ``reset_after``  until the next unit frees; 0 if none is in use.
    ``retry_after``  until one more request fits; 0 if it fits now.
    ``allowed``      this request was admitted (``check``), or one would be (``peek``).
    ``counted``      False: limits are off, or the server is away and the policy is "open"; the
                     figures are then those of an unused limit.
    """

    name: str
    limit: int
    window: float
    remaining: int
    reset_after: float
    retry_after: float
    allowed: bool
    counted: bool = True

    @classmethod
    def uncounted(cls, demand: Demand) -> RateLimitResult:
        """The result where nothing was asked of the server."""
        limit = demand.limit
        return cls(demand.name, limit.limit, limit.window, limit.limit, 0.0, 0.0, True, False)

    @property
    def retry_seconds(self) -> int:
        """``retry_after`` as ``Retry-After`` has it: whole seconds, at least 1."""
        return max(1, math.ceil(self.retry_after))

    @property
    def tightness(self) -> tuple[bool, int, float]:
        """Sorts results by how much they restrict: the smallest is the tightest."""
        wait = self.reset_after if self.allowed else self.retry_after
        return (self.allowed, self.remaining if self.allowed else 0, -wait)
