"""What a limit is, what is asked of it, and how it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple, get_args

MAX_LIMIT = 1_000_000_000
MIN_WINDOW = 0.001
MAX_WINDOW = 10 * 365.25 * 86_400.0

Algorithm = Literal["sliding-log", "auto"]
"""``sliding-log`` is exact at any size; ``auto`` keeps limits above 128 in at most 0.4 kB a key."""

Kind = Literal["rate", "concurrency"]

OnFailure = Literal["open", "closed", "local", "raise"]
"""When the server can't be asked: pass uncounted, answer 503, count in this process, or raise."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``limit`` units in any interval of ``window_us`` microseconds.

    ``name``        of the policy, in headers, signals and counters; see ``policy``.
    ``algorithm``   how units are kept.
    ``shadow``      evaluated and counted like any other, but it refuses nobody.
    ``on_error``    when the server can't be asked; None: ``REDIS_RATELIMIT_ON_ERROR``.
    ``refundable``  units may be handed back, so what it refused is asked about each time.
    ``kind``        "concurrency": at most ``limit`` at the same time; ``window_us`` is the lease
                    after which a holder that was killed counts no more.
    """

    limit: int
    window_us: int
    name: str = ""
    algorithm: Algorithm = "sliding-log"
    shadow: bool = False
    on_error: OnFailure | None = None
    refundable: bool = False
    kind: Kind = "rate"

    @property
    def window(self) -> float:
        """The window (of a concurrency limit: the lease) in seconds."""
        return self.window_us / 1_000_000

    @property
    def policy(self) -> str:
        """Its name, or one made of its figures: ``100/60s``, ``5 at once``."""
        if self.name:
            return self.name
        if self.kind == "concurrency":
            return f"{self.limit} at once"
        return f"{self.limit}/{self.window:g}s"

    @classmethod
    def checked(
        cls,
        limit: object,
        window: object,
        *,
        name: object = "",
        algorithm: object = "sliding-log",
        shadow: bool = False,
        on_error: object = None,
        refundable: bool = False,
        kind: Kind = "rate",
    ) -> Limit:
        """A limit from a user's arguments; ``TypeError`` or ``ValueError`` names the wrong one."""
        if not isinstance(name, str):
            raise TypeError(f"name= must be a text, not {name!r}.")
        _one_of("algorithm=", algorithm, get_args(Algorithm))
        if on_error is not None:
            _one_of("on_error=", on_error, get_args(OnFailure))
        window_us = _window_us(window, "lease=" if kind == "concurrency" else "window=")
        return cls(
            _checked_limit(limit),
            window_us,
            name,
            algorithm,  # type: ignore[arg-type]  # checked above
            shadow,
            on_error,  # type: ignore[arg-type]  # checked above
            refundable,
            kind,
        )


def checked_cost(cost: object, limit: Limit) -> int:
    """A cost in units that ``limit`` could admit; ``TypeError`` or ``ValueError`` says the cure."""
    if isinstance(cost, bool) or not isinstance(cost, int):
        raise TypeError(f"cost= must be a whole number of units, not {cost!r}.")
    if cost < 0:
        raise ValueError(f"cost= must be 0 or more units, not {cost!r}.")
    if cost > limit.limit:
        raise ValueError(
            f"cost={cost} is more than the limit {limit.policy!r} ever admits: raise limit= or "
            "lower the cost."
        )
    return cost


def _one_of(argument: str, value: object, options: tuple[str, ...]) -> None:
    if value not in options:
        known = " or ".join(map(repr, options))
        raise ValueError(f"{argument} must be {known}, not {value!r}.")


def _checked_limit(limit: object) -> int:
    if callable(limit):
        raise TypeError(
            "limit= must be a whole number, not a function. Write the decorator with its "
            "arguments: @rate_limit(limit=100, window=60)."
        )
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit= must be a whole number of requests, not {limit!r}.")
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit= must be between 1 and {MAX_LIMIT:,} requests, not {limit!r}.")
    return limit


def _window_us(window: object, argument: str) -> int:
    if isinstance(window, timedelta):
        window = window.total_seconds()
    if isinstance(window, bool) or not isinstance(window, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds or a timedelta, not {window!r}.")
    if not MIN_WINDOW <= window <= MAX_WINDOW:  # false for NaN too
        raise ValueError(
            f"{argument} must be between {MIN_WINDOW} s and ten years, not {window!r} seconds."
        )
    return round(window * 1_000_000)


class Claim(NamedTuple):
    """``cost`` units asked of one limit for one identity; made by ``Limiter.claim``.

    ``scope``  what is counted together: an endpoint, a function, or a shared name.
    ``tag``    the hashed identity; claims with the same tag share a Cluster slot.
    ``key``    where it is counted.
    """

    limit: Limit
    tag: str
    scope: str
    cost: int
    key: str


@dataclass(frozen=True)
class RateLimitResult:
    """How one limit stands for one identity. Times are seconds from now.

    ``name``         what is counted together: an endpoint, a function, or a name of the user's.
    ``limit``        requests admitted per ``window`` seconds.
    ``remaining``    requests that would be admitted now.
    ``reset_after``  until the next unit frees; 0 if none is in use.
    ``retry_after``  until one more request fits; 0 if it fits now.
    ``allowed``      this limit had room for the request (``check``), or has (``peek``).
    ``counted``      False: limits are off, or the server is away and the policy is "open"; the
                     figures are then those of an unused limit.
    ``full_after``   until all units are free.
    ``policy``       the limit's name, or its figures.
    ``shadow``       it would have refused where ``allowed`` is False, but refuses nobody.
    ``kind``         "rate", or "concurrency": then ``window`` is the lease.
    ``cost``         units that were asked for.
    ``local``        counted in this process, as the server is away.
    """

    name: str
    limit: int
    window: float
    remaining: int
    reset_after: float
    retry_after: float
    allowed: bool
    counted: bool = True
    full_after: float = 0.0
    policy: str = ""
    shadow: bool = False
    kind: Kind = "rate"
    cost: int = 1
    local: bool = False

    @classmethod
    def uncounted(cls, claim: Claim) -> RateLimitResult:
        """The result where nothing was asked of the server."""
        return cls.of(claim, claim.limit.limit, 0.0, 0.0, 0.0, allowed=True, counted=False)

    @classmethod
    def of(
        cls,
        claim: Claim,
        remaining: int,
        reset_after: float,
        full_after: float,
        retry_after: float,
        *,
        allowed: bool,
        counted: bool = True,
        local: bool = False,
    ) -> RateLimitResult:
        """How the limit of a claim stands."""
        limit = claim.limit
        result = cls.__new__(cls)
        result.__dict__.update(  # what __init__ does, a field at a time
            name=claim.scope,
            limit=limit.limit,
            window=limit.window_us / 1_000_000,
            remaining=remaining,
            reset_after=reset_after,
            retry_after=retry_after,
            allowed=allowed,
            counted=counted,
            full_after=full_after,
            policy=limit.name or limit.policy,
            shadow=limit.shadow,
            kind=limit.kind,
            cost=claim.cost,
            local=local,
        )
        return result

    def later(self, seconds: float) -> RateLimitResult:
        """The same, ``seconds`` later, if nothing else happens."""
        result = RateLimitResult.__new__(RateLimitResult)
        result.__dict__.update(
            self.__dict__,
            retry_after=max(0.0, self.retry_after - seconds),
            reset_after=max(0.0, self.reset_after - seconds),
            full_after=max(0.0, self.full_after - seconds),
        )
        return result

    @property
    def retry_seconds(self) -> int:
        """``retry_after`` as ``Retry-After`` has it: whole seconds, at least 1."""
        return max(1, math.ceil(self.retry_after))

    @property
    def tightness(self) -> tuple[bool, int, float]:
        """Sorts results by how much they restrict: the smallest is the tightest."""
        wait = self.reset_after if self.allowed else self.retry_after
        return (self.allowed, self.remaining if self.allowed else 0, -wait)
