"""The settings of the events: ``REDIS_EVENTS_…``."""

from __future__ import annotations

from dataclasses import dataclass

from flask_redis_kit.core.config import FeatureConfig, require_positive
from flask_redis_kit.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EventsConfig(FeatureConfig):
    """Times are seconds, sizes bytes, lengths events.

    ``history_length``, ``history_ttl``   what a channel keeps for those who come back, and how
                              long after its last event; ``user_history_…`` for users' channels.
    ``meta_ttl``              how long a channel remembers its last id after its last event.
    ``payload_limit``         the largest event as JSON.
    ``replay_limit``          who missed more than this gets a ``reset`` instead.
    ``queue_length``, ``queue_bytes``  what one slow client may have waiting in this process.
    ``heartbeat``             the longest silence on a stream.
    ``retry``                 after how long a browser comes back, about.
    ``stream_max_age``        after how long a stream ends so that it is authorised anew, ± 20 %.
    """

    history_length: int = 200
    history_ttl: float = 3600.0
    user_history_length: int = 50
    user_history_ttl: float = 900.0
    meta_ttl: float = 30 * 86400.0
    payload_limit: int = 65536
    replay_limit: int = 500
    queue_length: int = 128
    queue_bytes: int = 262144
    heartbeat: float = 15.0
    retry: float = 3.0
    stream_max_age: float = 600.0

    def __post_init__(self) -> None:
        require_positive(self, "REDIS_EVENTS", self.__slots__)
        if self.meta_ttl < max(self.history_ttl, self.user_history_ttl):
            raise ConfigError(
                f"REDIS_EVENTS_META_TTL={self.meta_ttl!r} is less than the history's: a channel "
                "must remember its last id for at least as long as its events.",
                key="REDIS_EVENTS_META_TTL",
            )
