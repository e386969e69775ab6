"""Who has a name: functions without one of their own must not find each other's values.

Lambdas, functions made inside functions, what a decorator without ``functools.wraps`` returns, and
methods bound to an object share their qualified name with others of the kind.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from flask_redis_kit.core.errors import ConfigError


def is_ambiguous(function: Callable[..., Any]) -> bool:
    """Whether another function may have the same module and qualified name."""
    name = getattr(function, "__qualname__", "<locals>")
    return "<locals>" in name or "<lambda>" in name or _bound_to(function) is not None


class Claims:
    """The ambiguous names that functions of one application have taken."""

    def __init__(self) -> None:
        self._holders: dict[tuple[str, ...], Callable[..., Any]] = {}

    def check(self, name: tuple[str, ...], function: Callable[..., Any]) -> None:
        """``ConfigError`` if a different function has this name already."""
        holder = self._holders.setdefault(name, function)
        if holder is not function and not _same(holder, function):
            raise ConfigError(
                f"Two cached functions are called {'.'.join(name)}, and would find each other's "
                f"values. {_cure(holder, function)}"
            )


def _cure(one: Any, other: Any) -> str:
    code = getattr(one, "__code__", None)
    if code is None or code != getattr(other, "__code__", None) or _bound_to(one) is not None:
        return "Give each a key_prefix of its own."
    return (
        "Give each a key_prefix of its own. Or, as it is one function that is made anew with other "
        "values from around it, define it once, outside, and give it those as arguments."
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two function objects do the same: one code, and nothing captured or bound."""
    if _bound_to(one) is not _bound_to(other):
        return False
    code = getattr(one, "__code__", None)
    if code is None or code != getattr(other, "__code__", None):
        return False
    return one.__closure__ is None and other.__closure__ is None


def _bound_to(function: Any) -> object:
    """The object or class whose method this is; of a builtin function it would be its module."""
    owner = getattr(function, "__self__", None)
    return None if isinstance(owner, ModuleType) else owner
