"""What an application limits: every rule that holds for one of its routes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from flask_redis_kit.core.counters import Counts
from flask_redis_kit.ratelimit.gate import Gate
from flask_redis_kit.ratelimit.limits import Limit
from flask_redis_kit.ratelimit.lookup import Holding, endpoint_holdings
from flask_redis_kit.ratelimit.petition import subject_of
from flask_redis_kit.ratelimit.route import APPLICATION, RateLimitMisplaced
from flask_redis_kit.ratelimit.rule import Rule, spoken
from flask_redis_kit.ratelimit.weight import warning_of


@dataclass(frozen=True, slots=True)
class Line:
    """One limit of one endpoint, in words."""

    HEADS: ClassVar[tuple[str, ...]] = (
        "endpoint", "methods", "policy", "limit", "window", "key", "algorithm", "from"
    )  # fmt: skip

    endpoint: str
    methods: tuple[str, ...]
    policy: str
    limit: str
    window: str
    key: str
    algorithm: str
    origin: str

    @property
    def row(self) -> tuple[str, ...]:
        """As a row under ``HEADS``."""
        return (
            self.endpoint, ",".join(self.methods), self.policy, self.limit, self.window, self.key,
            self.algorithm, self.origin,
        )  # fmt: skip

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        named = dict(zip(self.HEADS, self.row, strict=True))
        return {**named, "methods": list(self.methods)}


def inventory(gate: Gate) -> list[Line]:
    """Every limit that holds for a route, by endpoint."""
    return [
        _line(holding, limit) for holding in _all_holdings(gate) for limit in holding.rule.shown
    ]


def details(gate: Gate, wanted: str) -> list[dict[str, object]]:
    """All that is known of the limits of an endpoint, or with a policy's name.

    One round trip for each day of counts. Raises ``LookupError`` if there is none.
    """
    found = [
        (holding, limit)
        for holding in _all_holdings(gate)
        for limit in holding.rule.shown
        if wanted in (holding.endpoint, limit.policy, _subject(holding, limit), holding.scope)
    ]
    if not found:
        raise LookupError(
            f"{wanted!r} is neither an endpoint with limits nor a policy: "
            "`flask redis limits list` shows them."
        )
    counts = gate.context.counters.read()
    return [
        {
            **_line(holding, limit).as_dict(),
            "counted as": holding.scope,
            "cost": _cost(holding.rule),
            "shadow": limit.shadow,
            "on_error": limit.on_error or gate.context.config.on_error,
            "counted by outcome": holding.rule.count_when is not None,
            "today": _today(holding, limit, counts),
        }
        for holding, limit in found
    ]


def heavy_limits(gate: Gate) -> list[str]:
    """What to say of limits whose logs take much memory."""
    limits = {limit for holding in _all_holdings(gate) for limit in holding.rule.limits}
    return sorted(warning for limit in limits if (warning := warning_of(limit)))


def survey(gate: Gate) -> None:
    """Look at each route once, which warns of limits whose logs take much memory. No I/O.

    At an application's first request, some 10 ms for 500 routes: not when somebody comes by there.
    """
    for endpoint in list(gate.context.app.view_functions):
        with suppress(RateLimitMisplaced):  # it is said where somebody comes by
            endpoint_holdings(gate, endpoint)


def _all_holdings(gate: Gate) -> Iterator[Holding]:
    for endpoint in sorted(gate.context.app.view_functions):
        yield from endpoint_holdings(gate, endpoint)


def _subject(holding: Holding, limit: Limit) -> str:
    return subject_of(holding.scope, limit.policy, named=holding.rule.named)


def _today(holding: Holding, limit: Limit, counts: Counts) -> dict[str, int]:
    """What became of its requests; whatever windows its function has found."""
    today: dict[str, int] = {}
    anything = holding.rule.find is not None and not holding.rule.named
    for (subject, outcome), count in sorted(counts.items()):
        found = anything and subject.startswith(f"{holding.scope} ")
        if found or subject == _subject(holding, limit):
            today[outcome] = today.get(outcome, 0) + count
    return today


def _line(holding: Holding, limit: Limit) -> Line:
    rule = holding.rule
    found = rule.find is not None
    window = f"{limit.window:g} s"
    if limit.kind == "concurrency":
        window = f"at once (lease {window})"
    return Line(
        holding.endpoint,
        holding.methods,
        limit.policy,
        f"by {spoken(rule.find)}" if rule.find else f"{limit.limit:,}",
        f"{window}, or as found" if found else window,
        rule.source,
        "leases" if limit.kind == "concurrency" else limit.algorithm,
        _origin(holding),
    )


def _origin(holding: Holding) -> str:
    _, at, place = holding.scope.rpartition("@")
    if holding.scope.startswith(APPLICATION) or holding.rule.shared is not None:
        place = "application" if not holding.rule.shared else f"shared {holding.rule.shared!r}"
    elif not at:
        place = "view"
    elif not place.startswith("default"):
        place = f"blueprint {place.partition('#')[0]}"
    return f"{place}, shadow" if holding.rule.limits[0].shadow else place


def _cost(rule: Rule) -> object:
    return rule.cost if isinstance(rule.cost, int) else f"by {spoken(rule.cost)}"
