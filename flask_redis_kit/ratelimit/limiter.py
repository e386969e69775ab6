"""The engine: asks the server, applies the failure policy, remembers refusals."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context
from flask_redis_kit.ratelimit import sliding_log
from flask_redis_kit.ratelimit.answer import RateLimitExceeded, RateLimitUnavailable
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.denials import Denials, question
from flask_redis_kit.ratelimit.limits import Demand, Limit, RateLimitResult
from flask_redis_kit.ratelimit.sliding_log import Ask, Standing, Verdict

logger = logging.getLogger("flask_redis_kit.ratelimit")

NOTE = "ratelimit"
"""Under this name a request's batch keeps the tightest result."""

WARN_SECONDS = 60.0

_Operation: TypeAlias = Callable[[Sequence[Ask]], Exchange[Verdict]]
_Answer: TypeAlias = tuple[Demand, Standing]


class Limiter:
    """The rate limits of one application. Thread-safe; holds nothing of a request."""

    def __init__(self, context: Context[RateLimitConfig]) -> None:
        self.context = context
        self.denials = Denials()
        self._warn_at = 0.0

    @property
    def enabled(self) -> bool:
        """The off switch."""
        return self.context.config.enabled

    def demand(self, name: str, limit: Limit, tag: str) -> Demand:
        """One unit of ``limit`` for the identity hashed in ``tag``."""
        key = sliding_log.log_key(self.context.keys, tag, name, limit.window_us)
        return Demand(name, limit, tag, key)

    def check(self, demands: Sequence[Demand]) -> RateLimitResult:
        """Count under all limits or under none; the tightest result.

        One round trip for any number of limits, together with what the request has pending; none
        for a refusal that this process knows to hold. Raises ``RateLimitExceeded``.
        """
        if not self.enabled:
            return RateLimitResult.uncounted(demands[0])
        asked = question(demands)
        since, resets = time.monotonic(), self.denials.resets
        tightest = self.denials.get(asked, since)
        if tightest is None:
            tightest = self._tightest(demands)
            if not tightest.allowed:
                self.denials.add(asked, tightest, since=since, resets=resets)
        if tightest.counted:
            self._note(tightest)
        if not tightest.allowed:
            raise RateLimitExceeded(tightest)
        return tightest

    def peek(self, demand: Demand) -> RateLimitResult:
        """How a limit stands, counting nothing. One round trip."""
        if not self.enabled:
            return RateLimitResult.uncounted(demand)
        answers = self._ask([demand], sliding_log.peek)
        return _result(*answers[0]) if answers else RateLimitResult.uncounted(demand)

    def reset(self, demand: Demand) -> bool:
        """Forget what was counted; True if anything was. One round trip; raises server errors."""
        existed = self.context.send(sliding_log.clear(demand.key))
        self.denials.forget(demand.key)
        return existed

    def current(self) -> RateLimitResult | None:
        """The tightest result of the current request, or None if nothing was counted in it."""
        batch = self.context.batch()
        return None if batch is None else batch.notes.get(NOTE)

    def _note(self, result: RateLimitResult) -> None:
        batch = self.context.batch()
        if batch is None:
            return
        noted: RateLimitResult | None = batch.notes.get(NOTE)
        if noted is None or result.tightness < noted.tightness:
            batch.notes[NOTE] = result

    def _tightest(self, demands: Sequence[Demand]) -> RateLimitResult:
        """Count under these limits, and tell how the tightest stands."""
        answers = self._ask(demands, sliding_log.acquire)
        if not answers:
            return RateLimitResult.uncounted(min(demands, key=lambda demand: demand.limit.limit))
        return _result(*min(answers, key=lambda answer: answer[1].tightness))

    def _ask(self, demands: Sequence[Demand], operation: _Operation) -> list[_Answer]:
        """The answers, group by group until one refuses; none if a failure lets them pass."""
        answers: list[_Answer] = []
        for group in self._groups(demands):
            try:
                verdict = self.context.send(operation([_ask_of(demand) for demand in group]))
            except FAILURES as error:
                self._failed(error)
                return []
            answers += zip(group, verdict.standings, strict=True)
            if not verdict.admitted:
                break
        return answers

    def _groups(self, demands: Sequence[Demand]) -> list[list[Demand]]:
        """What can be asked in one script call: everything, or on Cluster what shares a tag."""
        if not self.context.wire.clustered:
            return [list(demands)]
        groups: dict[str, list[Demand]] = {}
        for demand in demands:
            groups.setdefault(demand.tag, []).append(demand)
        return list(groups.values())

    def _failed(self, error: Exception) -> None:
        policy = self.context.config.on_error
        if policy == "raise":
            raise error
        self._warn(error)
        if policy == "closed":
            raise RateLimitUnavailable(getattr(error, "retry_after", 1.0)) from error

    def _warn(self, error: Exception) -> None:
        """One line a minute: an outage must not fill the log."""
        now = time.monotonic()
        if now < self._warn_at:
            return
        self._warn_at = now + WARN_SECONDS
        outcome = "refused with 503" if self.context.config.on_error == "closed" else "not limited"
        logger.warning("Rate limits can't be checked, requests are %s: %s", outcome, error)


def _ask_of(demand: Demand) -> Ask:
    return (demand.key, demand.limit.limit, demand.limit.window_us, 1)


def _result(demand: Demand, standing: Standing) -> RateLimitResult:
    fits = standing.retry_us == 0
    retry_us: float = standing.retry_us
    if fits and standing.remaining == 0:  # it took the last one
        retry_us = standing.reset_us
    return RateLimitResult(
        name=demand.name,
        limit=demand.limit.limit,
        window=demand.limit.window,
        remaining=standing.remaining,
        reset_after=standing.reset_us / 1_000_000,
        retry_after=(math.inf if retry_us < 0 else retry_us) / 1_000_000,
        allowed=fits,
    )
