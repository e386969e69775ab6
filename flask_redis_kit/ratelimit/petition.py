"""What one call asks of its limits, and what follows from that alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.script import RepeatedCall
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.headers import Field, Form, form_of
from flask_redis_kit.ratelimit.limits import Claim, checked_cost
from flask_redis_kit.ratelimit.rule import Rule
from flask_redis_kit.ratelimit.scripts import (
    EACH,
    FIRST,
    Verdict,
    acquire,
    counting,
    peek,
    repeated,
)

Question = tuple[str | int, ...]
"""For each claim its key, limit, cost and shadow: what a refusal was the answer to."""

_NO_RULES: Mapping[str, Rule] = MappingProxyType({})


class Petition:
    """The claims of all limits of one call, each key once, and the rules that they come from.

    The claims of a view with constant limits are the same for an identity each time it comes: its
    petition is kept, and what is sent, counted and told is worked out at its first use.

    ``claims``       in the order of the request.
    ``rules``        by key; none for ``check``.
    ``question``     what is asked.
    ``leases``       it asks for places of a concurrency limit.
    ``conditional``  the answer decides whether it is counted.
    """

    __slots__ = (
        "_asked",
        "_call",
        "_form",
        "_kept",
        "_places",
        "_subjects",
        "claims",
        "conditional",
        "leases",
        "question",
        "rules",
    )

    def __init__(self, claims: Iterable[Claim], rules: Mapping[str, Rule] = _NO_RULES) -> None:
        self.claims = _merged(tuple(claims))
        self.rules = rules
        self.question = question(self.claims)
        self.leases = any(claim.limit.kind == "concurrency" for claim in self.claims)
        self.conditional = any(rule.count_when is not None for rule in rules.values())
        self._kept = self._asked = False
        self._call: RepeatedCall | None = None
        self._subjects: tuple[str, ...] | None = None
        self._form: Form | None = None
        self._places: tuple[int, ...] = ()

    @classmethod
    def of(cls, asked: Petition | Iterable[Claim]) -> Petition:
        """Of claims that come from no rules; a petition is one already."""
        return asked if isinstance(asked, Petition) else cls(asked)

    def keep(self) -> Petition:
        """It is going to be asked again."""
        self._kept = True
        return self

    def exchange(self, token: str) -> Exchange[Verdict]:
        """Count under all limits or none; with ``token`` "" look only. For keys in one slot."""
        if not token:
            return peek(self.claims)
        if self._call is None:
            if self._asked and self._kept:  # many come only once
                self._call = repeated(self.claims)
            self._asked = True
            return acquire(self.claims, token)
        return counting(self.claims, self._call.with_first(token))

    @property
    def subjects(self) -> tuple[str, ...]:
        """How counters name the limits, in the order of the claims."""
        subjects = self._subjects
        if subjects is None:
            subjects = self._subjects = tuple(map(self._subject, self.claims))
        return subjects

    def _subject(self, claim: Claim) -> str:
        rule = self.rules.get(claim.key)
        named = rule is None or rule.name is not None
        return subject_of(claim.scope, claim.limit.policy, named=named)

    def headers(self, decision: Decision, dialects: tuple[str, ...]) -> list[Field]:
        """The headers that tell how the limits stand: by the server, or by a refusal known here."""
        form = self._form or self._made_form(dialects)
        verdict = decision.verdict
        if verdict is not None:
            return form.filled(form.rows(verdict.numbers, self._places))
        shown = [result for result in decision.results if not result.shadow]
        return form.filled([form.row(n, result) for n, result in enumerate(shown)])

    def _made_form(self, dialects: tuple[str, ...]) -> Form:
        told = [(n, claim) for n, claim in enumerate(self.claims) if not claim.limit.shadow]
        self._places = tuple(FIRST + EACH * n for n, _ in told)
        limits = [(claim.limit, claim.cost) for _, claim in told]
        form = form_of(
            tuple((each.policy, each.limit, each.window, each.kind, c) for each, c in limits),
            dialects,
        )
        self._form = form
        return form


def question(claims: Sequence[Claim]) -> Question:
    """What is asked by these claims."""
    asked: list[str | int] = []
    for limit, _, _, cost, key in claims:
        asked += (key, limit.limit, cost, limit.shadow)
    return tuple(asked)


@lru_cache(maxsize=1024)
def subject_of(scope: str, policy: str, *, named: bool) -> str:
    """How counters and signals name a limit: as the user did, or by its route and its window."""
    return policy if named else f"{scope} {policy}"


def _merged(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """One claim for each key: what is counted together counts once, by the smallest limit."""
    if len({claim.key for claim in claims}) == len(claims):
        return claims
    merged: dict[str, Claim] = {}
    for claim in claims:
        known = merged.get(claim.key, claim)
        strictest = min(known, claim, key=lambda each: (each.limit.shadow, each.limit.limit))
        cost = checked_cost(max(known.cost, claim.cost), strictest.limit)
        merged[claim.key] = strictest._replace(cost=cost)
    return tuple(merged.values())
