"""The settings of the queue: ``REDIS_QUEUE_…``."""

from __future__ import annotations

from dataclasses import dataclass

from flask_redis_kit.core.config import FeatureConfig
from flask_redis_kit.core.errors import ConfigError

MAX_THREADS = 256


@dataclass(frozen=True, slots=True)
class QueueConfig(FeatureConfig):
    """Times are seconds.

    ``lease``       a worker that gives no sign for this long counts as dead; its jobs run again.
    ``grace``       how long a worker that was told to stop waits for its running jobs.
    ``threads``     how many jobs one worker process runs at a time.
    ``retries``     how often a job that raised runs again, unless its task says otherwise.
    ``backoff``     the wait before the first retry; it doubles with each (at most an hour).
    ``max_crashes`` how many workers a job may take with it before it is dead.
    ``result_ttl``  how long progress and kept results can be read.
    """

    lease: float = 30.0
    grace: float = 25.0
    threads: int = 4
    retries: int = 3
    backoff: float = 5.0
    max_crashes: int = 3
    result_ttl: float = 3600.0

    def __post_init__(self) -> None:
        _require(self.lease >= 0.1, "LEASE", self.lease, "at least 0.1 (30 is a good one)")
        _require(self.grace >= 0, "GRACE", self.grace, "0 or more")
        _require(0 < self.threads <= MAX_THREADS, "THREADS", self.threads, f"1 to {MAX_THREADS}")
        _require(self.retries >= 0, "RETRIES", self.retries, "0 or more")
        _require(self.backoff >= 0, "BACKOFF", self.backoff, "0 or more")
        _require(self.max_crashes >= 0, "MAX_CRASHES", self.max_crashes, "0 or more")
        _require(self.result_ttl >= 0.001, "RESULT_TTL", self.result_ttl, "more than 0")


def _require(right: bool, name: str, value: float, cure: str) -> None:
    if not right:
        key = f"REDIS_QUEUE_{name}"
        raise ConfigError(f"{key} must be {cure}, not {value!r}.", key=key)
