"""What came of asking for all limits of a request at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask_redis_kit.ratelimit.limits import Claim, RateLimitResult
from flask_redis_kit.ratelimit.scripts import Held


@dataclass(frozen=True, slots=True)
class Decision:
    """Admitted under all limits, or refused and counted under none.

    ``allowed``  no limit refused that may.
    ``claims``   what was asked, in the order of the request.
    ``results``  how the limits stand now, in that order.
    ``token``    the name of this admission: by it units are handed back and leases released.
    ``failure``  why the server could not be asked; None if it could.
    ``held``     what is still counted for it at the server; each part can be handed back once.
    ``known``    refused without asking: this process knew that a refusal still holds.
    """

    allowed: bool
    claims: tuple[Claim, ...]
    results: tuple[RateLimitResult, ...]
    token: str = ""
    failure: Exception | None = None
    held: list[Held] = field(default_factory=list, compare=False)
    known: bool = False

    @property
    def refused(self) -> tuple[RateLimitResult, ...]:
        """The limits that refused; none if the request was admitted."""
        if self.allowed:
            return ()
        return tuple(r for r in self.results if not r.allowed and not r.shadow)

    @property
    def unavailable(self) -> bool:
        """Refused because the server is away and a limit's policy is "closed": 503, not 429."""
        return not self.allowed and not self.refused

    @property
    def shadow_exceeded(self) -> tuple[RateLimitResult, ...]:
        """The shadow limits that would have refused a request that was admitted."""
        if not self.allowed:
            return ()
        return tuple(r for r in self.results if not r.allowed and r.shadow)

    @property
    def tightest(self) -> RateLimitResult:
        """The limit that restricts most; a shadow limit only if there is no other."""
        return min(self.results, key=lambda result: (result.shadow, result.tightness))

    @property
    def retry_after(self) -> float:
        """Seconds until the request would be admitted if nobody else asks; 0 if it was."""
        return max((result.retry_after for result in self.refused), default=0.0)

    @property
    def counted(self) -> bool:
        """Some limit was counted, at the server or in this process."""
        return any(result.counted for result in self.results)
