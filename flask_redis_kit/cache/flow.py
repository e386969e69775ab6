"""Flows: what a cached call does, written once for blocking and for asynchronous code.

A flow is a generator that yields what it needs done: an Exchange sent, a pause, or the function
called. It gets the result, or the exception, at its ``yield``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from flask_redis_kit.cache.bell import Bell
from flask_redis_kit.core.exchange import Exchange

T = TypeVar("T")
Send: TypeAlias = Callable[[Exchange[Any]], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds, or until the bell rings."""

    seconds: float
    bell: Bell


class Compute:
    """Call the function."""


COMPUTE: Final = Compute()
Step: TypeAlias = Exchange[Any] | Pause | Compute
Flow: TypeAlias = Generator[Step, Any, T]


def run(flow: Flow[T], send: Send, compute: Callable[[], Any]) -> T:
    """Run a flow in blocking code."""
    stopped: StopIteration | None = None
    try:
        step = next(flow)
        while True:
            result = None
            try:
                if isinstance(step, Exchange):
                    result = send(step)
                elif isinstance(step, Pause):
                    step.bell.wait(step.seconds)
                else:
                    result = compute()
            except BaseException as error:  # noqa: BLE001  # handed to the flow, which decides
                stopped = error if isinstance(error, StopIteration) else None
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
    except RuntimeError as problem:
        if stopped is not None and problem.__cause__ is stopped:
            raise stopped from None  # a generator makes a RuntimeError of it
        raise


async def run_async(flow: Flow[T], send: Send, compute: Callable[[], Awaitable[Any]]) -> T:
    """Run a flow in asynchronous code: pauses and the function are awaited."""
    try:
        step = next(flow)
        while True:
            result = None
            try:
                if isinstance(step, Exchange):
                    result = send(step)
                elif isinstance(step, Pause):
                    await step.bell.wait_async(step.seconds)
                else:
                    result = await compute()
            except BaseException as error:  # noqa: BLE001  # handed to the flow, which decides
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


def computed() -> Flow[Any]:
    """The function called, nothing else."""
    return (yield COMPUTE)


def without_compute() -> Any:
    """For flows that never call a function."""
    raise AssertionError("this flow computes nothing")
