"""Makes of rules what is asked of the server: for whom, under which key, how many units."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask_redis_kit.ratelimit.exemptions import EXEMPT
from flask_redis_kit.ratelimit.identity import hashed, hashed_address
from flask_redis_kit.ratelimit.ledger import Ask
from flask_redis_kit.ratelimit.limits import Claim
from flask_redis_kit.ratelimit.route import Claims, Route
from flask_redis_kit.ratelimit.rule import Rule

_MOST_CLAIMED = 1000


class Claiming:
    """Makes the claims of one application.

    ``claim``   that of a limit, an identity, a scope and a cost: ``Limiter.claim``.
    ``client``  tells the address of the client.
    """

    def __init__(self, claim: Callable[..., Claim], client: Callable[[], str]) -> None:
        self._claim = claim
        self._client = client

    def repeated(self, route: Route, wrapper: Callable[..., Any], asks: tuple[Ask, ...]) -> Claims:
        """The claims of a view's own limits: those of who comes again are not made again."""
        rule, scope = asks[0]
        if wrapper not in route.constant:
            return self.claims(asks)
        tag = self.tag(rule, scope)
        if tag is None:
            return (), {}
        known = route.claimed.get((wrapper, tag))
        if known is None:
            known = self.claims(asks, {id(rule.key_func): tag})
            if len(route.claimed) >= _MOST_CLAIMED:
                route.claimed.clear()
            route.claimed[wrapper, tag] = known
        return known

    def claims(self, asks: Iterable[Ask], known: dict[int, str | None] | None = None) -> Claims:
        """What is asked for now, and the rule of each key; each ``key_func`` is asked once.

        ``known``: the identities that are known already, by the id of their ``key_func``.
        """
        tags = {} if known is None else known
        claims: list[Claim] = []
        rules: dict[str, Rule] = {}
        for rule, scope in asks:
            if (rule.when is not None or rule.exempt_when is not None) and rule.skipped():
                continue
            who = id(rule.key_func)  # it need not be hashable
            if who not in tags:
                tags[who] = self.tag(rule, scope)
            tag = tags[who]
            if tag is None:
                continue
            limits = rule.limits if rule.find is None else rule.limits_now()
            cost = rule.cost_now(limits) if limits else 0
            for limit in limits:
                claim = self._claim(limit, tag, scope, cost)
                claims.append(claim)
                if claim.key not in rules:
                    rules[claim.key] = rule
        return tuple(claims), rules

    def tag(self, rule: Rule, scope: str) -> str | None:
        """The hashed identity that a rule counts for now; None if it is exempt."""
        if rule.key_func is None:
            return hashed_address(self._client())
        identity = rule.key_func()
        if identity is EXEMPT:
            return None
        return hashed(identity, source=f"key_func {rule.source} of the rate limit on {scope!r}")
