"""What ``kit.ratelimit.check`` and ``peek`` return."""

from __future__ import annotations

import dataclasses
from types import TracebackType

from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.limiter import Limiter
from flask_redis_kit.ratelimit.limits import RateLimitResult

_FIELDS = tuple(field.name for field in dataclasses.fields(RateLimitResult))


class Checked(RateLimitResult):
    """How the tightest of the limits stands that were asked for.

    ``decision``  how all of them stand.

    ``with kit.ratelimit.check(...) as attempt:`` may say ``attempt.refund()`` inside.
    """

    __slots__ = ("_limiter", "decision")

    decision: Decision
    _limiter: Limiter

    @classmethod
    def by(cls, decision: Decision, limiter: Limiter) -> Checked:
        """The result of a decision."""
        tightest = decision.tightest
        checked = cls(*(getattr(tightest, name) for name in _FIELDS))
        object.__setattr__(checked, "decision", decision)  # a frozen dataclass
        object.__setattr__(checked, "_limiter", limiter)
        return checked

    def refund(self) -> None:
        """Hand back what was counted, exactly and only once.

        Rides with the last trip of the request; outside of one it is a trip of its own.
        """
        self._limiter.refund(self.decision)

    def __enter__(self) -> Checked:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing: what was admitted was counted when it was asked for."""
