"""Exceptions that are kept like results: what is stored of them, and how they are made again.

Not by pickle: of an exception its arguments and attributes are stored, as far as the codec knows
them, and the name of its class, which must be one of those that the decorator has declared.
"""

from __future__ import annotations

from typing import Any

from flask_redis_kit.core.errors import CodecError

Classes = tuple[type[Exception], ...]


def is_kept(error: BaseException, classes: Classes) -> bool:
    """Whether an exception is exactly of a declared class; one of a subclass is not."""
    return type(error) in classes


def facts(error: Exception) -> list[Any]:
    """What makes the exception: its class, arguments and attributes. No cause, no traceback."""
    _, args, *state = _builtin(type(error)).__reduce__(error)  # a user's own may mean anything
    return [_named(type(error)), args, state[0] if state else None]


def rebuilt(stored: Any, classes: Classes) -> Exception:
    """The exception that ``facts`` told of. ``CodecError`` if it is no longer a declared one."""
    try:
        name, args, state = stored
        cls = next(each for each in classes if _named(each) == name)
        base = _builtin(cls)
        # without the class's own __init__, whose parameters need not be what it passed on
        error: Exception = base.__new__(cls, *args)
        base.__init__(error, *args)
        if state:
            base.__setstate__(error, state)
    except StopIteration:
        raise CodecError(f"{name!r} is not among the decorator's exceptions.") from None
    except Exception as problem:  # these bytes may be anything
        raise CodecError(f"It is no stored exception: {problem!r}.") from problem
    return error


def _builtin(cls: type[Exception]) -> Any:
    """The nearest class of Python's own, which holds the arguments."""
    return next(each for each in cls.__mro__ if each.__module__ == "builtins")


def _named(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
