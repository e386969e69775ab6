"""The settings ``REDIS_CACHE_…``."""

from __future__ import annotations

from dataclasses import dataclass

from flask_redis_kit.core.config import FeatureConfig
from flask_redis_kit.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CacheConfig(FeatureConfig):
    """Times are seconds.

    ``default_ttl``    how long a value lives where the decorator or ``set()`` gives no ``ttl``.
    ``lease_seconds``  how long others wait for a process that computes and may have died.
    ``wait_seconds``   how long a caller waits for another one's computation before its own.
    ``log_limit``      invalidated tags remembered per shard (about 100 bytes each).
    ``max_bytes``      larger values are returned but not stored.
    """

    default_ttl: float = 300.0
    lease_seconds: float = 15.0
    wait_seconds: float = 10.0
    log_limit: int = 100_000
    max_bytes: int = 5_000_000

    def __post_init__(self) -> None:
        for name, least in (
            ("default_ttl", 0.001),
            ("lease_seconds", 0.001),
            ("wait_seconds", 0),
            ("log_limit", 1),
            ("max_bytes", 1),
        ):
            if getattr(self, name) < least:
                key = f"REDIS_CACHE_{name.upper()}"
                raise ConfigError(
                    f"{key}={getattr(self, name)!r} is too small: use {least} or more.", key=key
                )
