"""What limits have decided in one request, and what is to be settled at its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from weakref import ref

from flask_redis_kit.core.views import current_context
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.leased_body import LeasedBody
from flask_redis_kit.ratelimit.limiter import Limiter
from flask_redis_kit.ratelimit.limits import Claim, RateLimitResult
from flask_redis_kit.ratelimit.petition import Petition
from flask_redis_kit.ratelimit.rule import Rule


class Ask(NamedTuple):
    """A rule that holds for a call, and what it counts together there."""

    rule: Rule
    scope: str


class Entry(NamedTuple):
    """One decision, and what it is about."""

    decision: Decision
    petition: Petition

    @property
    def leases(self) -> bool:
        """It holds places of a concurrency limit."""
        return self.petition.leases and self.decision.allowed

    @property
    def conditional(self) -> bool:
        """The answer decides whether it was counted."""
        return self.petition.conditional and self.decision.allowed

    def settle(self, limiter: Limiter, answer: object) -> None:
        """Hand back the units of those rules that do not count this answer."""
        verdicts: dict[int, bool] = {}  # each count_when is asked once
        refunded: list[Claim] = []
        for claim in self.decision.claims:
            rule = self.petition.rules.get(claim.key)
            if rule is None or rule.count_when is None:
                continue
            which = id(rule.count_when)  # it need not be hashable
            if which not in verdicts:
                verdicts[which] = bool(rule.count_when(answer))
            if not verdicts[which]:
                refunded.append(claim)
        if refunded:
            limiter.refund(self.decision, refunded)


class Ledger:
    """The decisions of one request, in their order.

    ``outside``  limits from outside of the view that wait for its outermost ``@rate_limit``.
    ``entered``  the limits from outside were found, before the view or at the end.
    ``open``     what the end of the request settles.
    ``streamed`` the response whose body holds places, and that body.
    ``exempt``   the client's network is; None: not known yet.
    """

    __slots__ = ("_home", "entered", "entries", "exempt", "open", "outside", "streamed")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.open: list[Entry] = []
        self.outside: tuple[Ask, ...] = ()
        self.entered = False
        self.exempt: bool | None = None
        self.streamed: tuple[object, LeasedBody] | None = None
        self._home = id(current_context())

    def is_at_home(self) -> bool:
        """Whether this is the request's own context, not a copy that ends while it goes on."""
        return id(current_context()) == self._home

    def add(self, entry: Entry, *, settled: bool) -> None:
        """Note a decision; ``settled``: its caller sees to its end."""
        self.entries.append(entry)
        if not settled and (entry.conditional or entry.leases):
            self.open.append(entry)

    def take_outside(self) -> tuple[Ask, ...]:
        """The waiting limits, once."""
        outside, self.outside = self.outside, ()
        return outside

    def take_open(self) -> list[Entry]:
        """What is still to be settled, once."""
        entries, self.open = self.open, []
        return entries

    def let_go(self, *, unsent: bool = False) -> None:
        """Give the places of a streamed body back that nobody has any more, so nobody can send it.

        A hook that ran after ours answered with something else. While a server, or another body
        around it, still has it, they are given back at its end.
        ``unsent``  no response is sent, though the frames of an error may still have this one.
        """
        if self.streamed is None:
            return
        place, body = self.streamed[1].place, ref(self.streamed[1])
        self.streamed = None
        if unsent or body() is None:
            place.give_back()

    def standings(self) -> dict[str, RateLimitResult]:
        """How each limit stands that was asked in this request, by key; the latest word of each."""
        return standings_of([entry.decision for entry in self.entries])

    @property
    def tightest(self) -> RateLimitResult | None:
        """The enforced limit that restricts most; None if none of them counted."""
        results = self.standings().values()
        counted = [result for result in results if result.counted and not result.shadow]
        return min(counted, key=lambda result: result.tightness, default=None)

    @property
    def refusal(self) -> Decision | None:
        """The last refusal, if there was one."""
        for entry in reversed(self.entries):
            if not entry.decision.allowed:
                return entry.decision
        return None


def standings_of(decisions: Iterable[Decision]) -> dict[str, RateLimitResult]:
    """How each limit of these decisions stands, by key; the latest word of each."""
    latest: dict[str, RateLimitResult] = {}
    for decision in decisions:
        for claim, result in zip(decision.claims, decision.results, strict=True):
            latest[claim.key] = result
    return latest
