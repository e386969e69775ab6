"""What can be run: functions under a name, kept on the declaration and shared by its apps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask_redis_kit.queue.errors import TaskError

_NO_NAME = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


@dataclass(frozen=True, slots=True)
class Task:
    """A registered function. ``retries`` None: as the application's settings say."""

    name: str
    function: Callable[..., Any]
    queue: str
    retries: int | None
    keep_result: bool
    signature: inspect.Signature

    def check(self, payload: Mapping[str, object]) -> None:
        """``TypeError`` naming the argument that is missing or too many."""
        try:
            self.signature.bind(**payload)
        except TypeError as error:
            raise TypeError(
                f"Task {self.name!r} can't be called with this payload: {error}. "
                f"It takes {self.signature}."
            ) from None


def declare(
    function: Callable[..., Any],
    *,
    name: str | None,
    queue: str,
    retries: int | None,
    keep_result: bool,
) -> Task:
    """A task of this function; ``TaskError`` or ``TypeError`` says what can't be."""
    if not callable(function):
        raise TypeError(f"@task decorates functions, not {function!r}.")
    called = getattr(function, "__name__", None) if name is None else name
    if not isinstance(called, str) or not 1 <= len(called) <= 200 or not called.isprintable():
        raise TaskError(f"name={called!r} is no name for a task: use 1 to 200 letters.")
    if retries is not None and (isinstance(retries, bool) or not isinstance(retries, int)):
        raise TypeError(f"Task {called!r}: retries={retries!r} must be a whole number.")
    if retries is not None and not 0 <= retries <= 1000:
        raise TaskError(f"Task {called!r}: retries={retries} must be 0 to 1000.")
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind in _NO_NAME:
            raise TypeError(
                f"Task {called!r}: the payload arrives as keyword arguments, so the function can't "
                f"have the positional parameter {str(parameter)!r}."
            )
    return Task(called, function, queue, retries, keep_result, signature)


class TaskRegistry:
    """Tasks by name and by function."""

    def __init__(self) -> None:
        self._by_name: dict[str, Task] = {}
        self._by_function: dict[Callable[..., Any], Task] = {}

    def add(self, task: Task) -> None:
        """Register; ``TaskError`` if another function has the name already."""
        known = self._by_name.get(task.name)
        if known is not None and not _same(known.function, task.function):
            raise TaskError(
                f"There are two tasks named {task.name!r}: {_place(known.function)} and "
                f"{_place(task.function)}. Give one of them another name: "
                "@kit.queue.task(name='...')."
            )
        self._by_name[task.name] = task
        self._by_function[task.function] = task

    def named(self, name: str) -> Task | None:
        """The task with this name, if it is known here."""
        return self._by_name.get(name)

    def of(self, function: Callable[..., Any]) -> Task:
        """The task of a function; ``TaskError`` if it is none."""
        task = self._by_function.get(function)
        if task is not None:
            return task
        raise TaskError(
            f"{_place(function)} is no task. Decorate it with @kit.queue.task, or enqueue by name."
        )


def _same(one: Any, other: Any) -> bool:
    """The same function, maybe made again by a reloaded module or a second call of a factory.

    With a closure it isn't: then the last one made would run for all applications.
    """
    if one is other:
        return True
    return (
        _place(one) == _place(other)
        and getattr(one, "__closure__", 1) is None
        and getattr(other, "__closure__", 1) is None
    )


def _place(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{getattr(function, '__module__', '?')}.{name}"
