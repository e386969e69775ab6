"""Makes of rules what is asked of the server: for whom, under which key, how many units."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask_redis_kit.ratelimit.exemptions import EXEMPT
from flask_redis_kit.ratelimit.identity import hashed
from flask_redis_kit.ratelimit.ledger import Ask
from flask_redis_kit.ratelimit.limits import Claim
from flask_redis_kit.ratelimit.petition import Petition
from flask_redis_kit.ratelimit.route import Route
from flask_redis_kit.ratelimit.rule import Rule

MOST_KEPT = 4096
"""Petitions that an application keeps; each takes up to 2 kB."""


class Claiming:
    """Makes the petitions of one application.

    ``claim``   that of a limit, an identity, a scope and a cost: ``Limiter.claim``.
    ``client``  tells the hashed address of the client.
    """

    def __init__(self, claim: Callable[..., Claim], client: Callable[[], str]) -> None:
        self._stores: dict[int, dict[Any, Petition]] = {}
        self._kept = 0
        self._claim = claim
        self._client = client

    def repeated(
        self, route: Route, wrapper: Callable[..., Any], asks: tuple[Ask, ...]
    ) -> Petition | None:
        """What a view's own limits ask for: that of who comes again is not made again."""
        rule, scope = asks[0]
        if wrapper not in route.constant:
            return self.petition(asks)
        tag = self._client() if rule.key_func is None else self.tag(rule, scope)
        if tag is None:
            return None
        known = route.kept.get((wrapper, tag))
        if known is not None:
            return known
        made = self.petition(asks, {id(rule.key_func): tag})
        if made is not None:
            self._keep(route.kept, (wrapper, tag), made.keep())
        return made

    def _keep(self, store: dict[Any, Petition], name: object, petition: Petition) -> None:
        """Keep it in the store of its route; when all stores hold too many, forget them all."""
        if self._kept >= MOST_KEPT:
            stores, self._stores, self._kept = self._stores, {}, 0
            for each in list(stores.values()):
                each.clear()
        self._stores[id(store)] = store
        self._kept += 1
        store[name] = petition

    def petition(
        self, asks: Iterable[Ask], known: dict[int, str | None] | None = None
    ) -> Petition | None:
        """What is asked for now, None if it is nothing; each ``key_func`` is asked once.

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
        return Petition(claims, rules) if claims else None

    def tag(self, rule: Rule, scope: str) -> str | None:
        """The hashed identity that a rule counts for now; None if it is exempt."""
        if rule.key_func is None:
            return self._client()
        identity = rule.key_func()
        if identity is EXEMPT:
            return None
        return hashed(identity, source=f"key_func {rule.source} of the rate limit on {scope!r}")
