"""The settings ``REDIS_RATELIMIT_…``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flask_redis_kit.core.config import FeatureConfig, require_positive
from flask_redis_kit.ratelimit.limits import OnFailure


@dataclass(frozen=True, slots=True)
class RateLimitConfig(FeatureConfig):
    """What the rate limits of one application do.

    ``on_error``   when the server can't be asked: "open" lets the request pass uncounted and logs a
                   warning, "closed" answers 503, "local" counts in this process, "raise" raises the
                   server's error. A limit may say otherwise.
    ``workers``    how many processes serve the application: "local" gives each its share.
    ``atomicity``  on Cluster, for limits of one request over different identities: "slot" lets each
                   lie in its own slot and hands back what was counted if another refuses; "strict"
                   puts all limits into one slot, and they are one script as elsewhere.
    """

    on_error: OnFailure = "open"
    workers: int = 1
    atomicity: Literal["slot", "strict"] = "slot"

    def __post_init__(self) -> None:
        require_positive(self, "REDIS_RATELIMIT", ("workers",))
