"""What ``acquire.lua`` should answer, computed from the definition with no cleverness."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import redis

Log = dict[bytes, int]
"""Member -> score, in microseconds of the server's clock."""


def server_now(client: redis.Redis) -> int:
    """The server's clock in microseconds."""
    seconds, micros = client.time()
    return int(seconds) * 1_000_000 + int(micros)


def read_log(client: redis.Redis, key: str | bytes) -> Log:
    """All of a log."""
    pairs: Any = client.zrange(key, 0, -1, withscores=True)
    return {member: int(score) for member, score in pairs}


@dataclass
class Expected:
    """One limit at one moment of the server's clock."""

    scores: list[int]
    limit: int
    window: int
    cost: int
    clock: int
    now: int = field(init=False)
    counted: list[int] = field(init=False)

    def __post_init__(self) -> None:
        newest = max(self.scores, default=self.clock)
        stale = newest > self.clock + self.window
        self.now = self.clock if stale else max(self.clock, newest)
        self.counted = sorted(s for s in self.scores if not stale and s > self.now - self.window)

    @property
    def fits(self) -> bool:
        return len(self.counted) + self.cost <= self.limit

    @property
    def retry(self) -> int:
        """Until the cost (at least one unit) fits, found by letting units go one by one."""
        cost = max(self.cost, 1)
        if cost > self.limit:
            return -1
        left = list(self.counted)
        wait = 0
        while len(left) + cost > self.limit:
            wait = left.pop(0) + self.window - self.clock
        return wait

    def after(self, admitted: bool) -> list[int]:
        """The counted scores after the call."""
        return self.counted + [self.now] * (self.cost if admitted else 0)
