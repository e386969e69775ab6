"""The calls of a function made lately: what is called with the same arguments has the same key."""

from __future__ import annotations

from typing import Any

from flask_redis_kit.cache.binding import Binding
from flask_redis_kit.cache.flight import Call

_MOST = 1024
_LONGEST = 200  # characters of all arguments together
# no floats: 0.0 equals -0.0, and is another argument
_TOLD_APART = frozenset({str, bytes, int, bool, type(None)})


class RecentCalls:
    """The latest calls with scalar arguments given by position. Safe for threads.

    The types are part of what they are found by: ``1`` equals ``True``.
    """

    __slots__ = ("_calls", "_skipped")

    def __init__(self, binding: Binding) -> None:
        self._skipped = int(binding.receiver in binding.ignored)  # a method's object
        self._calls: dict[tuple[Any, ...], Call] = {}

    def find(self, args: tuple[Any, ...]) -> Call | None:
        """The call with these arguments, if it was made lately."""
        if self._skipped:
            if not args:
                return None
            args = args[1:]
        try:
            return self._calls.get((args, *map(type, args)))
        except TypeError:  # not hashable
            return None

    def learn(self, args: tuple[Any, ...], call: Call) -> None:
        """Remember a call, if its arguments are scalars and not long."""
        if self._skipped:
            args = args[1:]
        if not {*map(type, args)} <= _TOLD_APART:
            return
        if sum(len(each) for each in args if isinstance(each, str | bytes)) > _LONGEST:
            return
        if len(self._calls) >= _MOST:
            self._calls.clear()
        self._calls[(args, *map(type, args))] = call
