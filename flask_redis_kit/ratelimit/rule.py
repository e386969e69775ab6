"""A rule: one ``@rate_limit`` as it was written, and what it asks for in a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from inspect import iscoroutinefunction, signature
from typing import Any, TypeAlias, TypedDict, Unpack

from flask_redis_kit.ratelimit.exemptions import EXEMPT, Exempt
from flask_redis_kit.ratelimit.identity import KeyFunc
from flask_redis_kit.ratelimit.limits import Algorithm, Kind, Limit, OnFailure, checked_cost
from flask_redis_kit.ratelimit.rates import parse_limits

Spec: TypeAlias = int | str
"""100 (in each window), or text such as "100/minute;2000/day"."""

LimitSpec: TypeAlias = Spec | Callable[[], Spec | Exempt]
"""A limit, or a function that finds it for the current request: by plan, say."""

Cost: TypeAlias = int | Callable[[], int]
Condition: TypeAlias = Callable[[], object]

DEFAULT_LIMIT = 100
DEFAULT_WINDOW = 60.0
DEFAULT_LEASE = 60.0

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class CheckOptions(TypedDict, total=False):
    """What ``kit.ratelimit.check`` takes beside limit, window, key and name."""

    cost: int
    shadow: bool
    on_error: OnFailure | None
    algorithm: Algorithm


class ConcurrencyOptions(TypedDict, total=False):
    """What ``concurrency_limit`` takes beside its limit, lease and key_func."""

    methods: Iterable[str] | None
    name: str | None
    shared: str | None
    exempt_when: Condition | None
    when: Condition | None
    shadow: bool
    on_error: OnFailure | None
    response: Callable[[Any], Any] | None


class RuleOptions(ConcurrencyOptions, total=False):
    """What ``rate_limit`` takes beside limit, window and key_func; see there."""

    cost: Cost
    count_when: Callable[[Any], object] | None
    algorithm: Algorithm


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
    def enforced(self) -> bool:
        """It limits a rate, and not in shadow: a route that has one needs no default limit."""
        return all(limit.kind == "rate" and not limit.shadow for limit in self.limits)

    @property
    def source(self) -> str:
        """Its ``key_func``, as errors name it."""
        return "client_ip" if self.key_func is None else spoken(self.key_func)

    def holds_for(self, method: str | None) -> bool:
        """Whether it is about requests with this method; None: there is no request."""
        return self.methods is None or method is None or method in self.methods

    def skipped(self) -> bool:
        """Whether the user's conditions leave this call out."""
        if self.when is not None and not self.when():
            return True
        return self.exempt_when is not None and bool(self.exempt_when())

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


def rule_of(
    limit: object,
    window: object = DEFAULT_WINDOW,
    key_func: object = None,
    *,
    cost: object = 1,
    methods: Iterable[str] | None = None,
    name: str | None = None,
    shared: str | None = None,
    exempt_when: Condition | None = None,
    when: Condition | None = None,
    count_when: Callable[[Any], object] | None = None,
    shadow: bool = False,
    on_error: OnFailure | None = None,
    algorithm: Algorithm = "sliding-log",
    response: Callable[[Any], Any] | None = None,
    kind: Kind = "rate",
) -> Rule:
    """A rule from a user's arguments; ``TypeError`` or ``ValueError`` names the wrong one."""
    label = _text("name=", name) or _text("shared=", shared) or ""
    pattern = Limit.checked(
        1, window, name=label, algorithm=algorithm, shadow=shadow, on_error=on_error,
        refundable=count_when is not None, kind=kind,
    )  # fmt: skip
    find = limit if callable(limit) else None
    limits = (pattern,) if find is not None else _limits(limit, pattern)
    for argument, function, takes in (
        ("limit=", find, 0), ("key_func=", key_func, 0), ("when=", when, 0),
        ("exempt_when=", exempt_when, 0), ("cost=", cost if callable(cost) else None, 0),
        ("count_when=", count_when, 1), ("response=", response, 1),
    ):  # fmt: skip
        _check_function(argument, function, takes)
    if not callable(cost) and find is None:
        cost = max(checked_cost(cost, each) for each in limits)
    elif not callable(cost):
        checked_cost(cost, Limit.checked(10**9, 1))  # its kind, not its size
    return Rule(
        limits,
        cost,  # type: ignore[arg-type]  # checked
        key_func,  # type: ignore[arg-type]  # checked
        find,
        _methods(methods),
        exempt_when,
        when,
        count_when,
        shared,
        response,
        name=name,
    )


def concurrency_rule(
    limit: object,
    lease: object = DEFAULT_LEASE,
    key_func: object = None,
    **options: Unpack[ConcurrencyOptions],
) -> Rule:
    """The rule of ``concurrency_limit``; errors as of ``rule_of``."""
    refuse_others(options, ConcurrencyOptions, "concurrency_limit")
    return rule_of(limit, lease, key_func, kind="concurrency", **options)


def refuse_others(options: Mapping[str, object], known: type, function: str) -> None:
    """``TypeError`` for the first option that a function does not take."""
    for name in options:
        if name not in known.__annotations__:
            raise TypeError(f"{function}() takes no argument {name!r}.")


def _limits(limit: object, pattern: Limit) -> tuple[Limit, ...]:
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


_found_limits = lru_cache(maxsize=1024)(_limits)


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


def _methods(methods: Iterable[str] | None) -> frozenset[str] | None:
    if methods is None:
        return None
    found = frozenset(methods) if not isinstance(methods, str) else frozenset((methods,))
    for method in found:
        if not isinstance(method, str) or not method.isalpha():
            raise ValueError(f"methods= takes names such as ['POST', 'PUT'], not {method!r}.")
    if not found:
        raise ValueError("methods=[] would never limit anything; leave it out to limit them all.")
    upper = frozenset(method.upper() for method in found)
    return upper | {"HEAD"} if "GET" in upper else upper  # HEAD runs the same view


def _text(argument: str, text: object) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str) or not text.strip():
        raise TypeError(f"{argument} must be a text, not {text!r}.")
    return text


def _check_function(argument: str, function: object, takes: int) -> None:
    if function is None:
        return
    arguments = "one argument" if takes else "no arguments"
    if not callable(function) or iscoroutinefunction(function):
        raise TypeError(
            f"{argument} must be a plain function that takes {arguments}, not {function!r}."
        )
    try:
        signature(function).bind(*[None] * takes)
    except ValueError:  # a builtin that does not tell
        return
    except TypeError:
        cure = ""
        if argument == "limit=":
            cure = " Write the decorator with its arguments: @rate_limit(limit=100, window=60)."
        raise TypeError(
            f"{argument} must take {arguments}, {spoken(function)} doesn't.{cure}"
        ) from None


def spoken(function: Callable[..., Any]) -> str:
    """A function as errors name it."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}"
