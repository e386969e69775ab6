"""Warns of limits whose exact logs take much memory."""

from __future__ import annotations

import logging

from flask_redis_kit.ratelimit.limits import Limit
from flask_redis_kit.ratelimit.rule import Rule

logger = logging.getLogger("flask_redis_kit.ratelimit")

HEAVY = 1000
"""Entries from which on a log is worth a word."""


def log_bytes(limit: Limit) -> int:
    """What a full log of a limit takes on the server: 24 bytes a unit, beyond 128 units 120."""
    return limit.limit * (24 if limit.limit <= 128 else 120)


def warning_of(limit: Limit) -> str | None:
    """What to say of a limit whose log can get long; None if it can't."""
    if limit.algorithm != "sliding-log" or limit.kind != "rate" or limit.limit <= HEAVY:
        return None
    size = log_bytes(limit) / 1_000_000
    return (
        f"The limit {limit.policy!r} of {limit.limit:,} keeps an entry for each request: up to "
        f"{size:,.2g} MB for each key. algorithm='auto' keeps it in 0.4 kB, and frees units up to "
        "1/64 of the window late."
    )


class HeavyLogs:
    """Says it once for each limit, in the log ``flask_redis_kit.ratelimit``."""

    def __init__(self) -> None:
        self._said: set[Limit] = set()

    def see(self, rule: Rule) -> None:
        """A rule is about to be used."""
        for limit in rule.limits:
            warning = warning_of(limit)
            if warning is not None and limit not in self._said:
                self._said.add(limit)
                logger.warning(warning)
