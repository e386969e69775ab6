"""Asks the server for all limits of a request: one script, or on Cluster one for each slot."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.decision import held_of
from flask_redis_kit.ratelimit.limits import Claim
from flask_redis_kit.ratelimit.petition import Petition
from flask_redis_kit.ratelimit.scripts import Held, Standing, Verdict, acquire, hand_back, peek

logger = logging.getLogger("flask_redis_kit.ratelimit")

Group = tuple[Claim, ...]


@dataclass(slots=True)
class Admission:
    """What the server said.

    ``refused``    some limit that may refuse did; nothing is counted.
    ``standings``  of the limits that were asked, by key.
    ``held``       what is counted.
    ``failed``     the claims that could not be asked, with the reason.
    """

    refused: bool = False
    standings: dict[str, Standing] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    failed: dict[Claim, Exception] = field(default_factory=dict)


class Admitting:
    """Counts under all limits of a request or under none. Holds no state of a request.

    Where all keys share a server it is one script and one round trip. On Cluster the keys of
    different identities lie in different slots, and no script spans them. Then the first trip only
    looks at all of them, so that a refusal writes nothing; the second counts everywhere at once.
    If somebody took the last unit in between, a third hands back exactly what was counted: until
    then others may be refused wrongly, but nobody is ever admitted wrongly.
    """

    def __init__(self, context: Context[RateLimitConfig]) -> None:
        self._context = context
        self.strict = context.config.atomicity == "strict"

    def groups(self, claims: Sequence[Claim]) -> list[Group]:
        """What can be asked in one script: everything, or on Cluster what shares a slot."""
        if self.strict or not self._context.wire.clustered:
            return [tuple(claims)]
        groups: dict[str, list[Claim]] = {}
        for claim in claims:
            groups.setdefault(claim.tag, []).append(claim)
        return [tuple(group) for group in groups.values()]

    def spreads(self, petition: Petition) -> bool:
        """Whether it takes more than one script to ask."""
        if self.strict or not self._context.wire.clustered:
            return False
        return len({claim.tag for claim in petition.claims}) > 1

    def ask(self, petition: Petition, token: str) -> Verdict | Admission:
        """Count; with ``token`` "" look only.

        One script, one round trip: the server's verdict, if there is one. Else see ``Admitting``.
        """
        admission = Admission()
        if self.spreads(petition):
            self._ask_each(admission, self.groups(petition.claims), token)
            return admission
        outcome: Outcome[Verdict]
        (outcome,) = self._context.send_many((petition.exchange(token),))
        if outcome.error is None:
            return outcome.result()
        _failed(admission, petition.claims, outcome.error, counting=bool(token))
        return admission

    def _ask_each(self, admission: Admission, groups: Sequence[Group], token: str) -> None:
        if token:
            self._send(admission, groups, "")
            if admission.refused:
                return
            failed = admission.failed
            groups = [group for group in groups if group[0] not in failed]
        if groups:
            self._send(admission, groups, token)
        if admission.refused and admission.held:
            self.roll_back(admission.held, token)
            admission.held = []

    def hand_back(self, held: Sequence[Held], token: str) -> list[Exchange[list[int]]]:
        """The Exchanges that remove what an admission holds, one a slot."""
        by_key = {each.claim.key: each for each in held}
        groups = self.groups([each.claim for each in held])
        return [hand_back([by_key[claim.key] for claim in group], token) for group in groups]

    def roll_back(self, held: Sequence[Held], token: str) -> None:
        """Hand back at once, as another limit refused. If it fails, units stay for a window."""
        for outcome in self._context.send_many(self.hand_back(held, token)):
            if outcome.error is not None:
                logger.warning("Units of a refused request stay counted: %s", outcome.error)

    def _send(self, admission: Admission, groups: Sequence[Group], token: str) -> None:
        exchanges = [acquire(group, token) if token else peek(group) for group in groups]
        outcomes: list[Outcome[Verdict]] = self._context.send_many(exchanges)
        for group, outcome in zip(groups, outcomes, strict=True):
            if outcome.error is None:
                _heard(admission, group, outcome.result(), counting=bool(token))
            else:
                _failed(admission, group, outcome.error, counting=bool(token))


def _heard(admission: Admission, group: Group, verdict: Verdict, *, counting: bool) -> None:
    admission.refused = admission.refused or not verdict.admitted
    for claim, standing in zip(group, verdict.standings, strict=True):
        admission.standings[claim.key] = standing
    admission.held += held_of(group, verdict, counting=counting)


def _failed(admission: Admission, group: Group, error: Exception, *, counting: bool) -> None:
    if not isinstance(error, FAILURES):
        raise error
    for claim in group:
        admission.failed[claim] = error
        admission.standings.pop(claim.key, None)  # it was looked at, but not counted
    if counting and getattr(error, "maybe_sent", False):
        # it may have been counted: a lease must not outlive its request
        leases = (claim for claim in group if claim.limit.kind == "concurrency")
        admission.held += [Held(claim, 0, 0) for claim in leases]
