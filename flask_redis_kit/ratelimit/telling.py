"""Tells the counters and the signals what came of a decision."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from blinker import Signal

from flask_redis_kit.core.feature import Context
from flask_redis_kit.ratelimit import signals
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.limits import RateLimitResult
from flask_redis_kit.ratelimit.rule import Rule

NEAR = 0.8
"""The part of a limit from which on ``limit_near`` is sent."""


def tell(context: Context[RateLimitConfig], decision: Decision, rules: Mapping[str, Rule]) -> None:
    """Count and signal each limit of a decision. No I/O."""
    for claim, result in zip(decision.claims, decision.results, strict=True):
        rule = rules.get(claim.key)
        subject = subject_of(
            claim.scope, result.policy, named=rule is None or rule.name is not None
        )
        if decision.failure is not None and (not result.counted or result.local):
            _failed(context, decision, subject, result)
        if result.counted:
            _counted(context, decision, subject, result)


@lru_cache(maxsize=1024)
def subject_of(scope: str, policy: str, *, named: bool) -> str:
    """How counters and signals name a limit: as the user did, or by its route and its window."""
    return policy if named else f"{scope} {policy}"


def _counted(
    context: Context[RateLimitConfig], decision: Decision, subject: str, result: RateLimitResult
) -> None:
    if not decision.allowed:
        if not result.allowed and not result.shadow:
            context.counters.add(subject, "refused-locally" if decision.known else "refused")
            _send(context, signals.limit_refused, subject, result, locally=decision.known)
        return
    if not result.allowed:
        context.counters.add(subject, "shadow")
        _send(context, signals.limit_shadow_exceeded, subject, result)
        return
    context.counters.add(subject, "admitted")
    if signals.limit_admitted.receivers:
        _send(context, signals.limit_admitted, subject, result)
    if signals.limit_near.receivers:
        used = result.limit - result.remaining
        if used - result.cost < NEAR * result.limit <= used:
            _send(context, signals.limit_near, subject, result)


def _failed(
    context: Context[RateLimitConfig], decision: Decision, subject: str, result: RateLimitResult
) -> None:
    context.counters.add(subject, "error")
    outcome = "local" if result.local else "closed" if decision.unavailable else "open"
    _send(context, signals.limit_failed, subject, result, error=decision.failure, outcome=outcome)


def _send(
    context: Context[RateLimitConfig],
    signal: Signal,
    subject: str,
    result: RateLimitResult,
    **values: Any,
) -> None:
    if signal.receivers:
        signal.send(context.app, policy=subject, result=result, **values)
