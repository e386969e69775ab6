"""What becomes of limits that could not be asked: each has its policy."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.limits import Claim, OnFailure
from flask_redis_kit.ratelimit.local import LocalLimits
from flask_redis_kit.ratelimit.scripts import Standing

logger = logging.getLogger("flask_redis_kit.ratelimit")

WARN_SECONDS = 60.0
_FATES: dict[OnFailure, str] = {
    "open": "not limited",
    "closed": "refused with 503",
    "local": "limited by each process for itself",
    "raise": "failing",
}


@dataclass(frozen=True, slots=True)
class Fate:
    """What the policies say.

    ``failure``    the first error; None if every limit could be asked.
    ``raised``     some policy is "raise".
    ``closed``     some policy is "closed".
    ``refused``    a limit that is counted in this process refused.
    ``standings``  of the limits that were counted in this process, by key.
    """

    failure: Exception | None = None
    raised: bool = False
    closed: bool = False
    refused: bool = False
    standings: Mapping[str, Standing] = field(default_factory=dict)


_UNTROUBLED = Fate()


class Outage:
    """The failure policies of one application's limits. Thread-safe."""

    def __init__(self, config: RateLimitConfig) -> None:
        self._on_error = config.on_error
        self.local = LocalLimits(config.workers)
        self._warn_at = 0.0

    def policy(self, claim: Claim) -> OnFailure:
        """A limit's own policy or the application's; a shadow limit never refuses anybody."""
        if claim.limit.shadow:
            return "open"
        return claim.limit.on_error or self._on_error

    def decide(self, failed: Mapping[Claim, Exception], token: str) -> Fate:
        """What becomes of a request whose limits ``failed`` could not be asked; counts locally."""
        if not failed:
            return _UNTROUBLED
        failure = next(iter(failed.values()))
        policies = {claim: self.policy(claim) for claim in failed}
        chosen = set(policies.values())
        if "raise" in chosen:
            return Fate(failure, raised=True)
        self._warn(failure, chosen)
        if "closed" in chosen:
            return Fate(failure, closed=True)
        claims = [claim for claim, policy in policies.items() if policy == "local"]
        if not claims:
            return Fate(failure)
        admitted, standings = self.local.acquire(claims, token, time.monotonic())
        counted = {claim.key: each for claim, each in zip(claims, standings, strict=True)}
        return Fate(failure, refused=not admitted, standings=counted)

    def _warn(self, error: Exception, policies: set[OnFailure]) -> None:
        """One line a minute: an outage must not fill the log."""
        now = time.monotonic()
        if now < self._warn_at:
            return
        self._warn_at = now + WARN_SECONDS
        fates = " or ".join(_FATES[policy] for policy in sorted(policies))
        logger.warning("Rate limits can't be checked, requests are %s: %s", fates, error)
