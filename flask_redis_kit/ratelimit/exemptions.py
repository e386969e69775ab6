"""What no limit holds for: marked views and blueprints, identities, networks."""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeVar

T = TypeVar("T")

_MARK = "__redis_kit_exempt__"


class Exempt(Enum):
    """The type of ``EXEMPT``."""

    EXEMPT = "exempt"

    def __repr__(self) -> str:
        return "EXEMPT"


EXEMPT: Final = Exempt.EXEMPT
"""What a ``key_func`` returns for a caller, and a ``limit`` function for a plan, without limits."""


def mark_exempt(target: T) -> T:
    """Free a view, or all views of a blueprint, from the limits that come from outside of it."""
    if isinstance(target, str) or not hasattr(target, "__dict__"):
        raise TypeError(f"exempt() takes a view function or a blueprint, not {target!r}.")
    # with whose mark it is: functools.wraps copies attributes on to other wrappers
    setattr(target, _MARK, target)
    return target


def is_exempt(target: object) -> bool:
    """Whether this very view or blueprint was marked."""
    return target is not None and getattr(target, _MARK, None) is target
