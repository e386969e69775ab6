"""Times to live: seconds or a timedelta in the API, milliseconds on the wire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from flask_redis_kit.core.errors import ConfigError

Ttl = float | timedelta
TtlOf = Callable[[Any], Ttl | None]
"""How long a result lives: made from it; None, or nothing above 0: it is not stored."""
LONGEST = 100 * 365 * 86400.0
_SHORTEST = 0.001


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


def seconds(given: object, name: str = "ttl", least: float = _SHORTEST) -> float:
    """A time in seconds. ``TypeError`` or ``ConfigError`` if a value can't live so long."""
    value = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(value, bool) or not isinstance(value, int | float):
        more = " (or a function of the result)" if name == "ttl" else ""
        raise TypeError(f"{name} must be seconds or a timedelta{more}, not {given!r}.")
    if not least <= value <= LONGEST:  # nor is NaN
        cure = (
            " To store nothing, leave the decorator out or set REDIS_CACHE_ENABLED=False."
            if name == "ttl"
            else ""
        )
        raise ConfigError(
            f"{name}={given!r} is no time a value can live: use {least} seconds to 100 years.{cure}"
        )
    return float(value)


def milliseconds(ttl: object) -> int:
    """``ttl`` in ms. ``TypeError`` or ``ConfigError`` if it is no time that a value can live."""
    return round(seconds(ttl) * 1000)
