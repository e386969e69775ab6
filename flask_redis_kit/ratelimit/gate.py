"""The gate of one application: what a request has to pass, before its view and at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flask_redis_kit.core.feature import Context
from flask_redis_kit.core.request import RequestBatch, batch_of, open_batch
from flask_redis_kit.core.views import current_request
from flask_redis_kit.ratelimit.answer import refusal_of
from flask_redis_kit.ratelimit.claiming import Claiming
from flask_redis_kit.ratelimit.client_address import (
    NOBODY,
    Proxies,
    Trusted,
    cached_proxies,
    checked_prefix,
    client_address,
    counted_peer,
    find_client,
    parsed_proxies,
)
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.declaration import rule_of
from flask_redis_kit.ratelimit.identity import RateLimitKeyError, hashed_address
from flask_redis_kit.ratelimit.ledger import Ask, Entry, Ledger, standings_of
from flask_redis_kit.ratelimit.limiter import Limiter
from flask_redis_kit.ratelimit.networks import Networks
from flask_redis_kit.ratelimit.petition import Petition
from flask_redis_kit.ratelimit.route import (
    APPLICATION,
    Locate,
    Outside,
    RateLimitMisplaced,
    Route,
    declarations,
    route_of,
)
from flask_redis_kit.ratelimit.rule import Rule
from flask_redis_kit.ratelimit.telling import tell
from flask_redis_kit.ratelimit.weight import HeavyLogs

if TYPE_CHECKING:
    from flask import Request

    from flask_redis_kit.ratelimit.guard import Guard

NOTE = "ratelimit.ledger"
"""Under this name a request's batch keeps what limits decided in it."""
NO_REQUEST = (
    "There is no request, so there is no client address to count for. Give the limit a key: "
    "@rate_limit(..., key_func=...) or check(..., key=...)."
)


class Gate:
    """Finds the limits of a request, asks for them, and keeps what they decided.

    ``locates``  the ways in which decorators find this gate: by its kit, or by the application.
    ``enabled``  the off switch.
    """

    def __init__(self, context: Context[RateLimitConfig], locates: Sequence[Locate]) -> None:
        config = context.config
        self.context = context
        self.enabled = config.enabled
        self.limiter = Limiter(context)
        self.locates = tuple(locates)
        self.claiming = Claiming(self.limiter.claim, self.client_tag)
        self.proxies: Proxies = parsed_proxies(config.trusted_proxies)
        self._networks = Networks(config.exempt)
        self._exempts = bool(self._networks)
        self._settings = Outside(
            rules_of_setting(config.application, APPLICATION), rules_of_setting(config.default)
        )
        self._routes: dict[tuple[str, str], Route] = {}
        self._declarations = declarations()
        self._heavy = HeavyLogs()

    # who

    def client(self, trusted: Trusted | None = None, v6_prefix: int | None = None) -> str:
        """The address of the client, as limits count it; ``RateLimitKeyError`` if it has none.

        None: as the settings say.
        """
        request = current_request()
        if request is None:
            raise RateLimitKeyError(NO_REQUEST)
        config = self.context.config
        client = client_address(
            request.environ,
            self.proxies if trusted is None else cached_proxies(trusted),
            header=config.proxy_header,
            v6_prefix=config.ipv6_prefix if v6_prefix is None else checked_prefix(v6_prefix),
        )
        if not client:
            raise RateLimitKeyError(
                "The request has no client address (a server on a unix socket gives none). Say "
                "REDIS_RATELIMIT_TRUSTED_PROXIES = 'unix' if a proxy stands in front of it and "
                "sends X-Forwarded-For, use werkzeug's ProxyFix, or give the limit a key: "
                "@rate_limit(..., key_func=...)."
            )
        return client

    def client_tag(self) -> str:
        """The hash of the client's address."""
        request = current_request() if self.proxies is NOBODY else None
        peer = None if request is None else request.environ.get("REMOTE_ADDR")
        if peer:
            return hashed_address(counted_peer(peer, self.context.config.ipv6_prefix))
        return hashed_address(self.client())

    def _is_exempt(self, ledger: Ledger | None) -> bool:
        """Whether the request comes from an exempt network."""
        if ledger is None:
            return False
        if ledger.exempt is None:
            request = current_request()
            config = self.context.config
            environ = {} if request is None else request.environ
            client = find_client(environ, self.proxies, config.proxy_header)
            ledger.exempt = client is not None and client in self._networks
        return ledger.exempt

    # where

    def ledger(self) -> Ledger | None:
        """What was decided in the current request; None outside of one."""
        batch = self.context.batch()
        return None if batch is None else ledger_of(batch)

    def opened(self) -> Ledger | None:
        """The ledger of the current request, if anything was to be decided in it."""
        context = self.context
        request = context.request()
        batch = None if request is None else batch_of(request, context.kit_name, context.app)
        return None if batch is None else batch.notes.get(NOTE)

    def route(self, request: Request) -> Route:
        """Which limits hold for a request."""
        rule = request.url_rule
        return self.route_of("" if rule is None else rule.endpoint, request.method)

    def route_of(self, endpoint: str, method: str) -> Route:
        """Which limits hold for a method of an endpoint; "" for what no endpoint takes."""
        app = self.context.app
        key = (endpoint, method if endpoint else "")
        if self._declarations != declarations():  # a blueprint got a limit while it is served
            self._declarations = declarations()
            self._routes.clear()
        route = self._routes.get(key)
        if route is None or route.view is not app.view_functions.get(endpoint):
            route = route_of(app, *key, self._settings, self.locates)
            self._routes[key] = route
            self._weigh(route)
        return route

    def _weigh(self, route: Route) -> None:
        """Warn, once, of limits whose logs take much memory."""
        for guard, _ in route.guards:
            for rule in guard.rules_of(self.locates):
                self._heavy.see(rule)
        for rule, _ in route.outside:
            self._heavy.see(rule)

    def enter(self, request: Request) -> None:
        """Before the view: the limits from outside, unless the view's own ask for them."""
        route = self.route(request)
        ledger = self._wait(route, request.method)
        if ledger is not None and not route.direct:
            self.decide(ledger.take_outside(), ledger)

    def overlooked(self, request: Request) -> Ledger | None:
        """At the end of a request that never came by ``enter``: somebody answered before it.

        The ledger in which the limits from outside wait; None if none of them holds.
        """
        try:
            return self._wait(self.route(request), request.method)
        except RateLimitMisplaced:
            return None  # it is said where the request gets on

    def _wait(self, route: Route, method: str) -> Ledger | None:
        """Let the limits from outside wait: the view's own limits ask for them, or the end."""
        ledger = self.ledger() if route.outside else None
        if ledger is not None:
            ledger.entered = True
            ledger.outside = tuple(ask for ask in route.outside if ask.rule.holds_for(method))
        return ledger

    def admit(self, guard: Guard, rules: Iterable[Rule]) -> Entry | None:
        """At a decorator: its limits; what the caller has to settle when the call returns."""
        if not self.enabled:
            return None
        context = self.context
        request = context.request()
        if request is None:
            return self.decide([Ask(rule, rule.scope(guard.name)) for rule in rules], None)
        batch = open_batch(request, context.kit_name, context.app)
        ledger = ledger_of(batch)
        route = self.route(request)
        asks = route.asks.get(guard.wrapper)
        if asks is None or not batch.enter(guard.wrapper):  # no view, or not its outermost call
            name, method = guard.name, request.method
            own = [Ask(rule, rule.scope(name)) for rule in rules if rule.holds_for(method)]
            return self.decide(own, ledger, settled=True)
        if route.outside:
            self.decide((*asks, *ledger.take_outside()), ledger)
            return None
        ledger.entered = True  # nothing is asked from outside
        if asks and not (self._exempts and self._is_exempt(ledger)):
            petition = self.claiming.repeated(route, guard.wrapper, asks)
            if petition is not None:
                self.ask(petition, ledger)
        return None

    # whether

    def decide(
        self, asks: Sequence[Ask], ledger: Ledger | None, *, settled: bool = False
    ) -> Entry | None:
        """Ask for all these limits in one call; None if none of them holds.

        Raises ``RateLimitExceeded`` or ``RateLimitUnavailable``. ``settled``: the caller settles
        what it gets; else the end of the request does.
        """
        if self._exempts and self._is_exempt(ledger):
            return None
        petition = self.claiming.petition(asks)
        return None if petition is None else self.ask(petition, ledger, settled=settled)

    def ask(self, petition: Petition, ledger: Ledger | None, *, settled: bool = False) -> Entry:
        """Ask, tell what came of it, and raise a refusal."""
        decision = self.limiter.acquire(petition)
        entry = Entry(decision, petition)
        if ledger is not None:
            ledger.add(entry, settled=settled)
        try:
            tell(self.context, decision, petition)
        except BaseException:  # a listener's: the call ends here
            self.limiter.release(decision)
            raise
        if not decision.allowed:
            standings = standings_of([decision]) if ledger is None else ledger.standings()
            raise refusal_of(decision, petition.rules, standings) from decision.failure
        return entry

    # after

    def leave(self, ledger: Ledger, answer: object) -> list[Entry]:
        """At the end of a request: what it does not count is handed back. The leases it holds."""
        entries = ledger.take_open()
        try:
            for entry in entries:
                if entry.conditional:
                    entry.settle(self.limiter, answer)
        except BaseException:
            for entry in entries:
                if entry.leases:
                    self.limiter.release(entry.decision)
            raise
        return [entry for entry in entries if entry.leases]

    def returned(self, entry: Entry, value: object) -> None:
        """A limited function returned."""
        self._leave_place(entry)
        if entry.conditional:
            entry.settle(self.limiter, value)

    def raised(self, entry: Entry) -> None:
        """A limited function raised: it counts, but holds nothing any more."""
        self._leave_place(entry)

    def _leave_place(self, entry: Entry) -> None:
        """Give the places of a function back at once: the request may go on for long."""
        if not entry.leases:
            return
        self.limiter.release(entry.decision)
        batch = self.context.batch()
        if batch is not None:
            batch.flush()


def ledger_of(batch: RequestBatch) -> Ledger:
    """The ledger of a request, made at the first call."""
    ledger: Ledger | None = batch.notes.get(NOTE)
    if ledger is None:
        ledger = batch.notes.setdefault(NOTE, Ledger())
    return ledger


def rules_of_setting(text: str | None, scope: str = "") -> tuple[Rule, ...]:
    """The rules of ``REDIS_RATELIMIT_APPLICATION`` or ``…_DEFAULT``."""
    return () if text is None else (rule_of(text).labelled(scope.removeprefix("@")),)
