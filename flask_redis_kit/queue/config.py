"""The settings of the queue: ``REDIS_QUEUE_…``."""

from __future__ import annotations

from dataclasses import dataclass

from flask_redis_kit.core.config import FeatureConfig, require_positive
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
        require_positive(self, "REDIS_QUEUE", ("threads",))
        require_positive(self, "REDIS_QUEUE", ("lease",), least=0.1)
        require_positive(self, "REDIS_QUEUE", ("result_ttl",), least=0.001)
        names = ("grace", "retries", "backoff", "max_crashes")
        require_positive(self, "REDIS_QUEUE", names, least=0)
        if self.threads > MAX_THREADS:
            raise ConfigError(
                f"REDIS_QUEUE_THREADS must be 1 to {MAX_THREADS}, not {self.threads!r}.",
                key="REDIS_QUEUE_THREADS",
            )
