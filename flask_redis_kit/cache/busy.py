"""What this process knows of leases that others hold, so as not to ask for them in vain."""

from __future__ import annotations

import time

BRIEFLY = 0.2
"""Seconds for which a lease that another one holds is not asked for again."""
_MOST = 1000


class Busy:
    """The stale values that somebody is renewing, and until when that may be taken for granted."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def learn(self, name: str, seconds: float = BRIEFLY) -> None:
        """Somebody has the lease of this value."""
        if len(self._until) >= _MOST:
            self._until.clear()
        self._until[name] = time.monotonic() + seconds

    def forget(self, name: str) -> None:
        """Nobody has it any more."""
        self._until.pop(name, None)

    def is_known(self, name: str) -> bool:
        """Whether somebody has it, as far as is known here."""
        until = self._until.get(name)
        return until is not None and time.monotonic() < until
