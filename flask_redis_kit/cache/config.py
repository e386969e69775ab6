"""The settings ``REDIS_CACHE_…``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flask_redis_kit.core.config import FeatureConfig, require_positive


@dataclass(frozen=True, slots=True)
class CacheConfig(FeatureConfig):
    """Times are seconds.

    ``default_ttl``    how long a value lives where the decorator or ``set()`` gives no ``ttl``.
    ``lease_seconds``  how long others wait for a process that computes and may have died.
    ``wait_seconds``   how long a caller waits for another one's computation before its own.
    ``retry_seconds``  after renewing an old value failed: until the next try, it is served.
    ``log_limit``      invalidated tags remembered per shard (about 100 bytes each).
    ``max_bytes``      larger values are returned but not stored.
    ``on_error``       when the server can't be read or written: "compute" goes on without it,
                       "raise" raises its error.
    ``on_invalidation_error``  when an invalidation doesn't reach it: "raise" raises
                       ``InvalidationError``, "log" logs it: old values may then be served until
                       their ttl ends.
    """

    default_ttl: float = 300.0
    lease_seconds: float = 15.0
    wait_seconds: float = 10.0
    retry_seconds: float = 1.0
    log_limit: int = 100_000
    max_bytes: int = 5_000_000
    on_error: Literal["compute", "raise"] = "compute"
    on_invalidation_error: Literal["raise", "log"] = "raise"

    def __post_init__(self) -> None:
        require_positive(self, "REDIS_CACHE", ("default_ttl", "lease_seconds"), least=0.001)
        require_positive(self, "REDIS_CACHE", ("wait_seconds", "retry_seconds"), least=0)
        require_positive(self, "REDIS_CACHE", ("log_limit", "max_bytes"))
