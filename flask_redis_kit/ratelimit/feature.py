"""The Flask side of rate limits: ``kit.ratelimit``, the hooks of a request, the headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import ClassVar, TypeVar, Unpack

import click
from flask import Blueprint, Flask, Response

from flask_redis_kit.core.durability import eviction_warnings
from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.names import DEFAULT_NAME as DEFAULT_KIT
from flask_redis_kit.core.views import current_request
from flask_redis_kit.ratelimit.checked import Checked
from flask_redis_kit.ratelimit.client_address import Trusted
from flask_redis_kit.ratelimit.commands import limits_commands
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.declaration import (
    DEFAULT_LEASE,
    DEFAULT_LIMIT,
    CheckOptions,
    ConcurrencyOptions,
    RuleOptions,
    concurrency_rule,
    rate_rule,
)
from flask_redis_kit.ratelimit.decorator import Limiting, current_gate
from flask_redis_kit.ratelimit.departure import depart, give_up
from flask_redis_kit.ratelimit.exemptions import mark_exempt
from flask_redis_kit.ratelimit.gate import Gate
from flask_redis_kit.ratelimit.identity import Identity, KeyFunc
from flask_redis_kit.ratelimit.inventory import heavy_limits, survey
from flask_redis_kit.ratelimit.layout import KEYSPACE
from flask_redis_kit.ratelimit.limits import RateLimitResult
from flask_redis_kit.ratelimit.lookup import Target, claims_by_hand, claims_of
from flask_redis_kit.ratelimit.petition import Petition
from flask_redis_kit.ratelimit.route import declare
from flask_redis_kit.ratelimit.rule import DEFAULT_WINDOW, LimitSpec, Spec

T = TypeVar("T")

DEFAULT_NAME = "check"


class RateLimitFeature(Feature[RateLimitConfig, Gate]):
    """``kit.ratelimit``: exact sliding windows, counted by the server's clock."""

    name: ClassVar[str] = "ratelimit"
    config_class = RateLimitConfig
    keyspace = KEYSPACE

    def install(self, app: Flask) -> None:
        """Limits from outside before a view; headers, refunds and leases after it."""

        gates: list[Gate] = []  # the application's, from its first request on

        def ratelimit_before() -> None:
            if not gates:
                gates.append(self.engine())
                if gates[0].enabled:
                    survey(gates[0])
            gate, of = gates[0], current_request()
            if gate.enabled and of is not None:
                gate.enter(of)

        def ratelimit_after(response: Response) -> Response:
            gate = gates[0] if gates else self.engine()
            return depart(gate, app, response) if gate.enabled else response

        def ratelimit_teardown(error: BaseException | None) -> None:
            gate = gates[0] if gates else self.engine()
            if gate.enabled:
                give_up(gate, error)

        app.before_request(ratelimit_before)
        app.after_request(ratelimit_after)
        app.teardown_request(ratelimit_teardown)

    def build(self, context: Context[RateLimitConfig]) -> Gate:
        """The gate of one application."""
        locates: list[Callable[[], Gate]] = [self.engine]
        if context.kit_name == DEFAULT_KIT:
            locates.append(current_gate)
        return Gate(context, locates)

    def commands(self) -> Sequence[click.Command]:
        """``flask redis limits``."""
        return limits_commands(self)

    def warnings(self, context: Context[RateLimitConfig]) -> Iterable[str]:
        """Of an evicting server, and of limits whose logs take much memory."""
        if not context.config.enabled:
            return
        yield from heavy_limits(self.engine())
        yield from eviction_warnings(
            context.wire,
            "what was counted can be forgotten, and limits admit more than they say",
            "give the limits a server of their own by REDIS_RATELIMIT_URL",
        )

    # declaring

    def rate_limit(
        self,
        limit: LimitSpec = DEFAULT_LIMIT,
        window: float | timedelta = DEFAULT_WINDOW,
        key_func: KeyFunc | None = None,
        **options: Unpack[RuleOptions],
    ) -> Limiting:
        """Limit the calls of a view or function; see ``flask_redis_kit.rate_limit``."""
        return Limiting(rate_rule(limit, window, key_func, **options), self.engine)

    def concurrency_limit(
        self,
        limit: int | Callable[[], int] = 10,
        lease: float | timedelta = DEFAULT_LEASE,
        key_func: KeyFunc | None = None,
        **options: Unpack[ConcurrencyOptions],
    ) -> Limiting:
        """Limit the calls at the same time; see ``flask_redis_kit.ratelimit.concurrency_limit``."""
        return Limiting(concurrency_rule(limit, lease, key_func, **options), self.engine)

    def limit(
        self,
        target: Flask | Blueprint,
        limit: LimitSpec = DEFAULT_LIMIT,
        window: float | timedelta = DEFAULT_WINDOW,
        key_func: KeyFunc | None = None,
        **options: Unpack[RuleOptions],
    ) -> None:
        """Limit every view of a blueprint, each on its own, or all requests of an application.

        ``shared=`` counts the views of a blueprint together. An application's limit counts all its
        requests together, also those that no endpoint takes, but not those for static files. The
        other arguments are those of ``rate_limit``. Such limits are asked for in one call with the
        view's own where nothing stands between, else before the view.
        """
        if not isinstance(target, (Flask, Blueprint)):
            raise TypeError(
                f"limit() takes a blueprint or an application first, not {target!r}. On a view "
                "write @kit.ratelimit.rate_limit(...)."
            )
        rule = rate_rule(limit, window, key_func, "limit", **options)
        declare(target, rule, self.engine)

    def exempt(self, target: T) -> T:
        """Free a view, or all views of a blueprint, from the limits around it. Also a decorator.

        Around it are those of blueprints further out, of the application, and defaults; not what is
        written on the view itself.
        """
        return mark_exempt(target)

    # by hand

    def check(
        self,
        limit: Spec = DEFAULT_LIMIT,
        window: float | timedelta = DEFAULT_WINDOW,
        *,
        key: Identity,
        name: str = DEFAULT_NAME,
        **options: Unpack[CheckOptions],
    ) -> Checked:
        """Count for ``key`` where you stand. One round trip, atomic.

        ``cost``, ``shadow``, ``on_error`` and ``algorithm`` are those of ``rate_limit``. What has
        the same ``name``, ``window`` and ``key`` is counted together, whatever its limit.
        Raises ``RateLimitExceeded`` (429) and then has counted nothing; ``RateLimitUnavailable``
        (503) where ``on_error`` says so; ``RateLimitKeyError`` for an empty key.
        """
        gate = self.engine()
        claims = claims_by_hand(gate, limit, window, key, name, **options)
        entry = gate.ask(Petition(claims), gate.ledger())
        return Checked.by(entry.decision, gate.limiter)

    def peek(
        self,
        target: Target | None = None,
        *,
        limit: Spec | None = None,
        window: float | timedelta = DEFAULT_WINDOW,
        key: Identity | None = None,
        name: str = DEFAULT_NAME,
        **options: Unpack[CheckOptions],
    ) -> Checked:
        """How limits stand for ``key``, counting nothing. One round trip.

        ``target`` is a view, its endpoint, or a limited function: then it is about all limits that
        hold there, by their own keys; without ``key`` for whom the current request counts. Without
        a target it is about the limit that ``check`` would ask with the same arguments.
        """
        gate = self.engine()
        if target is None:
            claims = claims_by_hand(gate, limit or DEFAULT_LIMIT, window, key, name, **options)
        else:
            claims = claims_of(gate, target, key=key, limit=limit)
        return Checked.by(gate.limiter.peek(claims), gate.limiter)

    def reset(
        self,
        target: Target | None = None,
        *,
        limit: Spec | None = None,
        window: float | timedelta = DEFAULT_WINDOW,
        key: Identity | None = None,
        name: str = DEFAULT_NAME,
        **options: Unpack[CheckOptions],
    ) -> bool:
        """Forget what was counted for ``key``; True if anything was. One round trip.

        The arguments are those of ``peek``; limits of the whole application are not touched.
        Other processes may go on refusing for up to 5 seconds what they refused just now.
        """
        gate = self.engine()
        if target is None:
            claims = claims_by_hand(gate, limit or DEFAULT_LIMIT, window, key, name, **options)
        else:
            claims = claims_of(gate, target, key=key, limit=limit, application=False)
        return gate.limiter.reset(claims)

    def client_ip(self, *, trusted: Trusted | None = None, v6_prefix: int | None = None) -> str:
        """The client's address by this kit's settings; see ``flask_redis_kit.ratelimit``."""
        return self.engine().client(trusted, v6_prefix)

    @property
    def current(self) -> RateLimitResult | None:
        """The tightest limit of the current request so far; None if nothing was counted in it."""
        ledger = self.engine().opened()
        return None if ledger is None else ledger.tightest
