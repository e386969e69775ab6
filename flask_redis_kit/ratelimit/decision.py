"""What came of asking for all limits of a request at once."""

from __future__ import annotations

import math

from flask_redis_kit.ratelimit.limits import Claim, RateLimitResult
from flask_redis_kit.ratelimit.scripts import Held, Standing, Verdict


class Decision:
    """Admitted under all limits, or refused and counted under none.

    ``allowed``  no limit refused that may.
    ``claims``   what was asked, in the order of the request.
    ``token``    the name of this admission: by it units are handed back and leases released.
    ``failure``  why the server could not be asked; None if it could.
    ``known``    refused without asking: this process knew that a refusal still holds.
    ``verdict``  the server's whole answer, if it is all there is to the decision: the results are
                 made of it when somebody looks at them.
    """

    _held: list[Held] | None = None
    _refused: tuple[RateLimitResult, ...] | None = None

    def __init__(
        self,
        allowed: bool,
        claims: tuple[Claim, ...],
        results: tuple[RateLimitResult, ...] | None = None,
        token: str = "",
        failure: Exception | None = None,
        held: list[Held] | None = None,
        *,
        known: bool = False,
        verdict: Verdict | None = None,
    ) -> None:
        self.allowed = allowed
        self.claims = claims
        self.token = token
        self.failure = failure
        self.known = known
        self.verdict = verdict
        self._results = results
        if held is not None:
            self._held = held

    @property
    def results(self) -> tuple[RateLimitResult, ...]:
        """How the limits stand now, in the order of the claims."""
        results = self._results
        if results is None:
            standings = () if self.verdict is None else self.verdict.standings
            results = tuple(map(result_of, self.claims, standings))
            self._results = results
        return results

    @property
    def held(self) -> list[Held]:
        """What is still counted for it at the server; each part can be handed back once."""
        held = self._held
        if held is None:
            # two threads may make it at once, and then share the first
            held = vars(self).setdefault("_held", self._held_by_verdict())
        return held

    def _held_by_verdict(self) -> list[Held]:
        verdict = self.verdict
        return [] if verdict is None else held_of(self.claims, verdict, counting=bool(self.token))

    def later(self, seconds: float) -> Decision:
        """A refusal as it stands ``seconds`` later, if nothing else happens; known by then."""
        results = tuple([result.later(seconds) for result in self.results])
        return Decision(
            self.allowed, self.claims, results, self.token, self.failure, self.held, known=True
        )

    @property
    def refused(self) -> tuple[RateLimitResult, ...]:
        """The limits that refused; none if the request was admitted."""
        refused = self._refused
        if refused is None:
            unfit = () if self.allowed else self.results
            refused = tuple([each for each in unfit if not each.allowed and not each.shadow])
            self._refused = refused
        return refused

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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def _facts(self) -> tuple[object, ...]:
        return self.allowed, self.claims, self.results, self.token, self.failure, self.known

    def __repr__(self) -> str:
        return f"Decision(allowed={self.allowed}, results={self.results!r})"


def result_of(claim: Claim, standing: Standing, *, local: bool = False) -> RateLimitResult:
    """How the limit of a claim stands, for people."""
    fits = standing.retry_us == 0
    retry_us: float = standing.retry_us
    if fits and standing.remaining == 0:  # it took the last one
        retry_us = standing.reset_us
    return RateLimitResult.of(
        claim,
        standing.remaining,
        standing.reset_us / 1_000_000,
        standing.full_us / 1_000_000,
        (math.inf if retry_us < 0 else retry_us) / 1_000_000,
        allowed=fits,
        local=local,
    )


def held_of(claims: tuple[Claim, ...], verdict: Verdict, *, counting: bool) -> list[Held]:
    """What these claims hold by the server's answer; nothing if it was only asked to look."""
    if not counting or not verdict.admitted:
        return []
    return [
        Held(claim, verdict.clock_us + standing.full_us, standing.born)
        for claim, standing in zip(claims, verdict.standings, strict=True)
        if standing.retry_us == 0 and claim.cost
    ]
