"""Times to live: seconds or a timedelta in the API, milliseconds on the wire."""

from __future__ import annotations

import math
from datetime import timedelta

from flask_redis_kit.core.errors import ConfigError

Ttl = float | timedelta
LONGEST = 100 * 365 * 86400.0


def milliseconds(ttl: object) -> int:
    """``ttl`` in ms. ``TypeError`` or ``ConfigError`` if it is no time that a value can live."""
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"ttl must be seconds or a timedelta, not {ttl!r}.")
    if math.isnan(seconds) or not 0.001 <= seconds <= LONGEST:
        raise ConfigError(
            f"ttl={ttl!r} is no time a value can live: use 0.001 seconds to 100 years. "
            "To store nothing, leave the decorator out or set REDIS_CACHE_ENABLED=False."
        )
    return round(seconds * 1000)
