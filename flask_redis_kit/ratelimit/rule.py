"""A rule: one ``@rate_limit`` as it was written, and what it asks for in a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from inspect import iscoroutine
from typing import Any, TypeAlias

from flask_redis_kit.ratelimit.exemptions import EXEMPT, Exempt
from flask_redis_kit.ratelimit.identity import KeyFunc
from flask_redis_kit.ratelimit.limits import Limit, checked_cost
from flask_redis_kit.ratelimit.rates import parse_limits

Spec: TypeAlias = int | str
"""100 (in each window), or text such as "100/minute;2000/day"."""

LimitSpec: TypeAlias = Spec | Callable[[], Spec | Exempt]
"""A limit, or a function that finds it for the current request: by plan, say."""

Cost: TypeAlias = int | Callable[[], int]
Condition: TypeAlias = Callable[[], object]

DEFAULT_WINDOW = 60.0

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True, slots=True)
class Rule:
    """One declared limit, or several that were declared together.

    ``limits``      what is asked for; of a rule with ``find``, the pattern of what it finds.
    ``find``        the user's function that finds the limit of a request.
    ``key_func``    whom it counts for; None: the client's address.
    ``methods``     the HTTP methods it holds for; None: all.
    ``count_when``  decides by the answer whether a request was counted.
    ``shared``      what it counts together with other rules of that name; None: by endpoint.
    ``response``    answers a refusal instead of the usual 429.
    ``place``       tells it from other rules of the same function: ``#2``, ``#name``.
    ``name``        of its policies, if the user chose one.
    """

    limits: tuple[Limit, ...]
    cost: Cost
    key_func: KeyFunc | None
    find: Callable[[], Spec | Exempt] | None = None
    methods: frozenset[str] | None = None
    exempt_when: Condition | None = None
    when: Condition | None = None
    count_when: Callable[[Any], object] | None = None
    shared: str | None = None
    response: Callable[[Any], Any] | None = None
    place: str = ""
    name: str | None = None

    @property
    def named(self) -> bool:
        """Whether its policies have a name of the user's choice."""
        return self.name is not None

    @property
    def shown(self) -> tuple[Limit, ...]:
        """Its limits by the names they have; of one that is found, as if that were a number."""
        if self.find is None:
            return self.limits
        return limits_of(self.limits[0].limit, self.limits[0])

    @property
    def enforced(self) -> bool:
        """It limits a rate, and not in shadow: a route that has one needs no default limit."""
        return all(limit.kind == "rate" and not limit.shadow for limit in self.limits)

    @property
    def source(self) -> str:
        """Its ``key_func``, as errors name it."""
        return "client_ip" if self.key_func is None else spoken(self.key_func)

    @property
    def is_constant(self) -> bool:
        """It asks the same in each request: only its ``key_func`` is a function of the user's."""
        conditional = self.when is not None or self.exempt_when is not None
        return self.find is None and isinstance(self.cost, int) and not conditional

    def holds_for(self, method: str | None) -> bool:
        """Whether it is about requests with this method; None: there is no request."""
        return self.methods is None or method is None or method in self.methods

    def skipped(self) -> bool:
        """Whether the user's conditions leave this call out."""
        if self.when is not None and not _told(self.when):
            return True
        return self.exempt_when is not None and _told(self.exempt_when)

    def limits_now(self) -> tuple[Limit, ...]:
        """The limits of the current request; none if its plan has none."""
        if self.find is None:
            return self.limits
        found = self.find()
        return () if found is EXEMPT else self.found(found)

    def found(self, found: object) -> tuple[Limit, ...]:
        """The limits of a rule whose function has found ``found``."""
        if self.find is None:
            return self.limits
        if isinstance(found, bool) or not isinstance(found, (int, str)):
            raise TypeError(
                f"{spoken(self.find)} gave {found!r} as a limit; give a number of requests, a text "
                "such as '100/minute', or EXEMPT for none."
            )
        try:
            return _found_limits(found, self.limits[0])
        except (TypeError, ValueError) as error:
            raise type(error)(f"{spoken(self.find)} gave a wrong limit: {error}") from None

    def cost_now(self, limits: Iterable[Limit]) -> int:
        """The units that the current call asks for."""
        if isinstance(self.cost, int):
            if self.find is None:
                return self.cost  # checked where it was written
            cost: object = self.cost
        else:
            cost = self.cost()
        return max(checked_cost(cost, limit) for limit in limits)

    def beside(self, others: Iterable[Rule]) -> Rule:
        """This rule, placed so that it shares no log with the ``others`` of its function."""
        taken = {other.place for other in others if self._may_meet(other)}
        place = f"#{self.name}" if self.named and self.shared is None else ""
        chosen, number = place, 2
        while chosen in taken:
            chosen, number = f"{place}#{number}", number + 1
        return replace(self, place=chosen)

    def _may_meet(self, other: Rule) -> bool:
        if self.shared != other.shared:
            return False
        if self.find is not None or other.find is not None:
            return True  # their windows are known in a request only
        windows = {(limit.window_us, limit.kind) for limit in self.limits}
        return any((limit.window_us, limit.kind) in windows for limit in other.limits)

    def labelled(self, prefix: str) -> Rule:
        """This rule; policies that nobody named begin with ``prefix``."""
        if self.named or self.shared is not None or not prefix:
            return self
        labelled = (replace(limit, name=f"{prefix} {limit.name}".strip()) for limit in self.limits)
        return replace(self, limits=tuple(labelled))

    def scope(self, route: str) -> str:
        """What it counts together, where ``route`` is the endpoint or function it stands on."""
        return f"{route if self.shared is None else self.shared}{self.place}"


def limits_of(limit: object, pattern: Limit) -> tuple[Limit, ...]:
    """The limits that a number or a text means; the rest is as in ``pattern``."""
    if not isinstance(limit, str) or pattern.kind == "concurrency":
        whole = replace(pattern, limit=Limit.checked(limit, pattern.window).limit)
        return (whole if pattern.name else replace(whole, name=_label(pattern)),)
    if pattern.window_us != DEFAULT_WINDOW * 1_000_000:
        raise TypeError(f"window= says nothing beside {limit!r}: the text has its own windows.")
    rates = parse_limits(limit)
    limits = []
    for units, seconds in rates:
        timed = replace(pattern, window_us=Limit.checked(units, seconds).window_us, limit=units)
        if not pattern.name or len(rates) > 1:
            timed = replace(timed, name=f"{pattern.name} {_label(timed)}".lstrip())
        limits.append(timed)
    return tuple(limits)


_found_limits = lru_cache(maxsize=1024)(limits_of)


def _label(limit: Limit) -> str:
    """The name of a policy nobody named: "per-minute", "per-30-seconds", "concurrent"."""
    if limit.kind == "concurrency":
        return "concurrent"
    seconds, rest = divmod(limit.window_us, 1_000_000)
    if rest:
        return f"per-{limit.window:g}-seconds"
    length, unit = next(each for each in _UNITS if seconds % each[0] == 0)
    count = seconds // length
    return f"per-{unit}" if count == 1 else f"per-{count}-{unit}s"


def _told(condition: Condition) -> bool:
    """What a user's condition says; a coroutine, which is always true, would exempt everybody."""
    said = condition()
    if iscoroutine(said):
        said.close()
        raise TypeError(f"{spoken(condition)} gave a coroutine; a condition must not be async.")
    return bool(said)


def spoken(function: Callable[..., Any]) -> str:
    """A function as errors name it."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}"
