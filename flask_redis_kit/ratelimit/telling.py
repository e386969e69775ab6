"""Tells the counters and the signals what came of a decision."""

from __future__ import annotations

from typing import Any

from blinker import Signal

from flask_redis_kit.core.feature import Context
from flask_redis_kit.ratelimit import signals
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.limits import RateLimitResult
from flask_redis_kit.ratelimit.petition import Petition

NEAR = 0.8
"""The part of a limit from which on ``limit_near`` is sent."""


def tell(context: Context[RateLimitConfig], decision: Decision, petition: Petition) -> None:
    """Count and signal each limit of a decision. No I/O."""
    verdict = decision.verdict
    if verdict is not None and verdict.all_fit and not _is_heard():
        context.counters.add_each(petition.subjects, "admitted")
        return
    for subject, result in zip(petition.subjects, decision.results, strict=True):
        if decision.failure is not None and (not result.counted or result.local):
            _failed(context, decision, subject, result)
        if result.counted:
            _counted(context, decision, subject, result)


def _is_heard() -> bool:
    """Whether somebody listens to what is admitted."""
    return bool(signals.limit_admitted.receivers or signals.limit_near.receivers)


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
