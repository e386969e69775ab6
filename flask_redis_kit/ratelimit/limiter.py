"""The engine: asks the server, applies the failure policy, remembers refusals."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from flask_redis_kit.core.exchange import Outcome
from flask_redis_kit.core.feature import Context
from flask_redis_kit.ratelimit.admission import Admitting
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.decision import Decision, result_of
from flask_redis_kit.ratelimit.denials import Denials, hold_seconds
from flask_redis_kit.ratelimit.layout import limit_key
from flask_redis_kit.ratelimit.limits import Claim, Limit, RateLimitResult, checked_cost
from flask_redis_kit.ratelimit.outage import Outage
from flask_redis_kit.ratelimit.petition import Petition
from flask_redis_kit.ratelimit.scripts import Held, Standing, Verdict, clear, new_token, renew

logger = logging.getLogger("flask_redis_kit.ratelimit")


class Limiter:
    """The rate limits of one application. Thread-safe; holds nothing of a request."""

    def __init__(self, context: Context[RateLimitConfig]) -> None:
        self.context = context
        self.denials = Denials()
        self._admitting = Admitting(context)
        self._outage = Outage(context.config)

    @property
    def enabled(self) -> bool:
        """The off switch."""
        return self.context.config.enabled

    def claim(self, limit: Limit, tag: str, scope: str, cost: int = 1) -> Claim:
        """``cost`` units of ``limit``, counted together with all of ``scope`` and window, for the
        identity hashed in ``tag``. ``ValueError`` for a cost that the limit never admits.
        """
        if type(cost) is not int or not 0 <= cost <= limit.limit:
            checked_cost(cost, limit)  # says why not
        key = limit_key(self.context.keys, tag, scope, limit, strict=self._admitting.strict)
        return Claim(limit, tag, scope, cost, key)

    def acquire(self, asked: Petition | Sequence[Claim]) -> Decision:
        """Count under all limits or under none.

        One round trip for any number of limits, together with what the request has pending; none
        for a refusal that this process knows to hold. On Cluster, limits over different identities
        take two (see ``Admitting``). Raises the server's error where a limit's policy says so.
        """
        petition = Petition.of(asked)
        if not self.context.config.enabled:
            return _uncounted(petition)
        denials = self.denials
        since, resets = time.monotonic(), denials.resets
        decision = denials.get(petition.question, since)
        if decision is None:
            decision = self._asked(petition, new_token())
            if not decision.allowed and decision.failure is None:
                seconds = hold_seconds(decision, spread=self._admitting.spreads(petition))
                heard = time.monotonic()
                denials.add(
                    petition.question, decision, seconds, since=since, heard=heard, resets=resets
                )
        return decision

    def peek(self, asked: Petition | Sequence[Claim]) -> Decision:
        """How these limits stand for their costs, counting nothing. One round trip."""
        petition = Petition.of(asked)
        return self._asked(petition, "") if self.enabled else _uncounted(petition)

    def reset(self, asked: Petition | Sequence[Claim]) -> bool:
        """Forget what was counted; True if anything was. One round trip; raises server errors.

        Other processes go on refusing what they refused just now, for up to 5 seconds.
        """
        claims = Petition.of(asked).claims
        outcomes = self.context.send_many([clear(claim.key) for claim in claims])
        for claim in claims:
            self.denials.forget(claim.key)
            self._outage.local.forget(claim.key)
        existed = [bool(outcome.result()) for outcome in outcomes]
        return any(existed)

    def refund(self, decision: Decision, claims: Sequence[Claim] | None = None) -> None:
        """Hand back the units of an admission (or of these claims of it), exactly and only once.

        Rides with the last trip of the request; outside of one, a trip of its own. If it fails, the
        units stay counted until they leave the window.
        """
        wanted = [c for c in decision.claims if not _is_lease(c)]
        if claims is not None:
            wanted = [c for c in wanted if c in claims]
        self._hand_back(decision, wanted)

    def release(self, decision: Decision) -> None:
        """End the leases of an admission; again does nothing. Travels as ``refund`` does."""
        self._hand_back(decision, [c for c in decision.claims if _is_lease(c)])

    def renew(self, decision: Decision) -> bool:
        """Make the leases of an admission last a whole lease from now. One round trip.

        False if one had ended: others may have taken its place.
        """
        token, now = decision.token, time.monotonic()
        asked = zip(decision.claims, decision.results, strict=True)
        local = [claim for claim, result in asked if _is_lease(claim) and result.local]
        renewed = [self._outage.local.renew(claim, token, now) for claim in local]
        sure = [each.claim for each in decision.held if each.ends_us and _is_lease(each.claim)]
        outcomes = self.context.send_many([renew(claim, token) for claim in sure]) if sure else []
        return all(renewed + [outcome.result() for outcome in outcomes])

    def _asked(self, petition: Petition, token: str) -> Decision:
        claims, admission = petition.claims, self._admitting.ask(petition, token)
        if isinstance(admission, Verdict):
            return Decision(admission.admitted, claims, token=token, verdict=admission)
        failed = {} if admission.refused else admission.failed
        fate = self._outage.decide(failed, token)
        allowed = not (admission.refused or fate.closed or fate.raised or fate.refused)
        if not allowed and admission.held:
            self._admitting.roll_back(admission.held, token)
            admission.held = []
        if fate.raised and fate.failure is not None:
            raise fate.failure
        results = tuple(_result(claim, admission.standings, fate.standings) for claim in claims)
        return Decision(allowed, claims, results, token, fate.failure, admission.held)

    def _hand_back(self, decision: Decision, claims: Sequence[Claim]) -> None:
        self._outage.local.hand_back(claims, decision.token)
        keys = {claim.key for claim in claims}
        held = [each for each in list(decision.held) if each.claim.key in keys]
        taken = [each for each in held if _taken(decision.held, each)]
        if not taken:
            return

        def done(outcome: Outcome[list[int]]) -> None:
            if outcome.error is not None:
                logger.warning("Units could not be handed back: %s", outcome.error)
            for each in taken:
                if not _is_lease(each.claim):  # what a lease refused is not remembered
                    self.denials.forget(each.claim.key)

        for exchange in self._admitting.hand_back(taken, decision.token):
            self.context.defer(exchange, done=done)


def _taken(held: list[Held], each: Held) -> bool:
    """Take it off the list; False if another thread was first."""
    try:
        held.remove(each)
    except ValueError:
        return False
    return True


def _is_lease(claim: Claim) -> bool:
    return claim.limit.kind == "concurrency"


def _uncounted(petition: Petition) -> Decision:
    claims = petition.claims
    return Decision(True, claims, tuple(map(RateLimitResult.uncounted, claims)))


def _result(
    claim: Claim, asked: Mapping[str, Standing], local: Mapping[str, Standing]
) -> RateLimitResult:
    standing = asked.get(claim.key) or local.get(claim.key)
    if standing is None:
        return RateLimitResult.uncounted(claim)
    return result_of(claim, standing, local=claim.key in local)
