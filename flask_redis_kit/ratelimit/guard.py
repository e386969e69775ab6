"""What stands around a limited function: asks for its limits before each call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from flask_redis_kit.core.placement import note_outside
from flask_redis_kit.core.views import PLAN
from flask_redis_kit.ratelimit.rule import Rule, spoken

if TYPE_CHECKING:
    from flask_redis_kit.ratelimit.gate import Gate
    from flask_redis_kit.ratelimit.ledger import Entry

P = ParamSpec("P")
R = TypeVar("R")
Locate = Callable[[], "Gate"]

_GUARD = "__redis_kit_limits__"
OUTSIDE = "__redis_kit_limited_by__"


class Guard:
    """The limits of one wrapper and of those directly inside it; they are asked for together.

    ``taken``    the guards of those inside.
    ``target``   the function inside all of them.
    ``wrapper``  whose guard it is: functools.wraps copies attributes on to other wrappers.
    ``name``     what its limits count together where it is no view: ``module.qualname``.
    """

    __slots__ = ("_rules", "_single", "name", "taken", "target", "wrapper")

    def __init__(self, locate: Locate, rule: Rule, function: Callable[..., Any]) -> None:
        inner = guard_of(function)
        self.taken: tuple[Guard, ...] = () if inner is None else (inner, *inner.taken)
        self._rules: tuple[tuple[Locate, Rule], ...] = ((locate, rule),)
        self.target = function
        if inner is not None:
            self._rules += inner._rules
            self.target = inner.target
        alike = all(each == locate for each, _ in self._rules)
        self._single = tuple(rule for _, rule in self._rules) if alike else None
        self.wrapper: Callable[..., Any] = function
        self.name = spoken(self.target)

    @property
    def outermost(self) -> Rule:
        """The rule of this wrapper itself."""
        return self._rules[0][1]

    def belongs_to(self, locates: Sequence[Locate]) -> bool:
        """Whether the gate that is found in one of these ways asks for any of its limits."""
        return any(locate in locates for locate, _ in self._rules)

    def rules_of(self, locates: Sequence[Locate]) -> list[Rule]:
        """The limits that this gate asks for, outermost first."""
        return [rule for locate, rule in self._rules if locate in locates]

    def admit(self) -> list[tuple[Gate, Entry]]:
        """Ask for all limits, or raise; what is to be settled when the call returns."""
        if self._single is not None:
            gate = self._rules[0][0]()
            entry = gate.admit(self, self._single)
            return [] if entry is None else [(gate, entry)]
        rules: dict[Gate, list[Rule]] = {}
        for locate, rule in self._rules:
            rules.setdefault(locate(), []).append(rule)
        entries: list[tuple[Gate, Entry]] = []
        try:
            for gate, own in rules.items():
                entry = gate.admit(self, own)
                if entry is not None:
                    entries.append((gate, entry))
        except BaseException:
            for gate, entry in entries:
                gate.raised(entry)
            raise
        return entries


def guarded(function: Callable[P, R], rule: Rule, locate: Locate) -> Callable[P, R]:
    """``function`` behind a rule, and behind those it has already in the same script call."""
    if not callable(function) or isinstance(function, (type, staticmethod)):
        raise TypeError(
            f"@rate_limit decorates functions, not {function!r}. Put it inside @staticmethod, "
            "@classmethod or @property."
        )
    others = [guard.outermost for guard in map(guard_of, chain_of(function)) if guard is not None]
    guard = Guard(locate, rule.beside(others), function)
    wrapper = _wrapper(cast("Callable[P, R]", guard.target), guard)
    functools.update_wrapper(wrapper, function)
    vars(wrapper).pop(PLAN, None)  # a cached route's plan stays where the chain finds it: inside
    setattr(wrapper, _GUARD, guard)
    guard.wrapper = wrapper
    note_outside(OUTSIDE, function, wrapper)
    return wrapper


def _wrapper(target: Callable[P, R], guard: Guard) -> Callable[P, R]:
    if inspect.iscoroutinefunction(target):

        async def limited_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
            entries = guard.admit()
            if not entries:
                return await target(*args, **kwargs)
            with _settling(entries) as settle:
                return settle(await target(*args, **kwargs))

        return cast("Callable[P, R]", limited_coroutine)

    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        entries = guard.admit()
        if not entries:
            return target(*args, **kwargs)
        with _settling(entries) as settle:
            return settle(target(*args, **kwargs))

    return limited


@contextmanager
def _settling(entries: list[tuple[Gate, Entry]]) -> Iterator[Callable[[R], R]]:
    """Around the call of a function that is no view: ends its leases, refunds by its value."""

    def settle(value: R) -> R:
        for gate, entry in taken():
            gate.returned(entry, value)
        return value

    def taken() -> list[tuple[Gate, Entry]]:
        open_entries = list(entries)
        entries.clear()
        return open_entries

    try:
        yield settle
    finally:
        for gate, entry in taken():
            gate.raised(entry)


def guard_of(function: Callable[..., Any]) -> Guard | None:
    """The guard of a function that ``@rate_limit`` made, not of one that wraps such a function."""
    guard: Guard | None = getattr(function, _GUARD, None)
    return guard if guard is not None and guard.wrapper is function else None


def chain_of(function: Any) -> Iterator[Callable[..., Any]]:
    """A function and all that it wraps, outermost first."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)
