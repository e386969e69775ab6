"""What limits should do, from their definition: every admission is kept, and everything is counted.

It knows nothing of sets, hashes and buckets. Of ``algorithm="auto"`` it only knows the promise: an
admission counts at least for the window, and at most a 64th of the window longer; so it answers
with the fewest and the most units that may count. For the exact log both are the same number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Admission:
    """``units`` admitted at a time between ``low`` and ``high``, in microseconds."""

    token: str
    units: int
    low: int
    high: int


@dataclass
class Log:
    """All admissions under one key, however long ago.

    Where the clock was set back, an admission counts as of the newest one; which that is to the
    microsecond is known of the exact log only.
    """

    window: int
    auto: bool = False
    admissions: list[Admission] = field(default_factory=list)
    newest: int = 0

    @property
    def late(self) -> int:
        """How long after the window a unit may count."""
        return math.ceil(self.window / 64) if self.auto else 0

    def fewest(self, clock: int) -> int:
        """Units that count for certain."""
        now = self._latest(clock)
        return sum(a.units for a in self.admissions if a.low > now - self.window)

    def most(self, clock: int) -> int:
        """Units that may count."""
        now = clock if self.auto else self._latest(clock)
        return sum(a.units for a in self.admissions if a.high > now - self.window - self.late)

    def admit(self, token: str, units: int, clock: int) -> None:
        """Note an admission. What has left the window by now is gone, wherever the clock is set."""
        high = self._latest(clock)
        now = clock if self.auto else high
        gone = now - self.window - self.late
        self.admissions = [a for a in self.admissions if a.high > gone]
        for each in self.admissions:
            if each.low <= high - self.window:
                each.low = 0  # it may be gone
        self.admissions.append(Admission(token, units, clock if self.auto else high, high))
        self.newest = high

    def hand_back(self, token: str) -> None:
        """Forget an admission."""
        self.admissions = [a for a in self.admissions if a.token != token]

    def _latest(self, clock: int) -> int:
        if self.auto and self.admissions:  # it may still know of one that was handed back
            return max(clock, self.newest)
        return max([clock, *(a.high for a in self.admissions)])


@dataclass
class Leases:
    """Who holds a place under one key: token -> when the lease ends."""

    lease: int
    ends: dict[str, int] = field(default_factory=dict)

    def admit(self, token: str, clock: int) -> None:
        """Note a holder. Leases that have ended by now are gone, wherever the clock is set."""
        self.ends = {name: end for name, end in self.ends.items() if end > clock}
        self.ends[token] = clock + self.lease

    def held(self, clock: int) -> int:
        """Places that are taken."""
        return sum(clock < end <= clock + 2 * self.lease for end in self.ends.values())
