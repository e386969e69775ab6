"""Flows: what a cached call does, written once for blocking and for asynchronous code.

A flow is a generator that yields what it needs done: an Exchange sent, a pause, or the function
called. It gets the result, or the exception, at its ``yield``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from flask_redis_kit.cache.bell import Bell
from flask_redis_kit.core.exchange import Exchange, Outcome

T = TypeVar("T")
Send: TypeAlias = Callable[[Exchange[Any]], Any]
SendMany: TypeAlias = Callable[[Sequence[Exchange[Any]]], list[Outcome[Any]]]


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


def run_together(flows: Sequence[Flow[T]], send_many: SendMany) -> list[Outcome[T]]:
    """Run flows that only send. As many round trips as the longest of them needs.

    On Cluster a trip is one of waiting, to all nodes at once. What a flow raises is its own.
    """
    results: dict[int, Outcome[T]] = {}
    waiting: dict[int, Exchange[Any]] = {}

    def resume(n: int, step: Callable[[], Any]) -> None:
        try:
            waiting[n] = step()
        except StopIteration as stop:
            results[n] = Outcome(stop.value)
        except Exception as error:  # noqa: BLE001  # this flow's, not its neighbours'
            results[n] = Outcome(error=error)

    for n, flow in enumerate(flows):
        resume(n, flow.__next__)
    while waiting:
        sent, waiting = waiting, {}
        for n, outcome in zip(sent, send_many(list(sent.values())), strict=True):
            if outcome.error is not None:
                resume(n, _throwing(flows[n], outcome.error))
            else:
                resume(n, _sending(flows[n], outcome.result()))
    return [results[n] for n in range(len(flows))]


def _sending(flow: Flow[Any], value: object) -> Callable[[], Any]:
    return lambda: flow.send(value)


def _throwing(flow: Flow[Any], error: Exception) -> Callable[[], Any]:
    return lambda: flow.throw(error)


def computed() -> Flow[Any]:
    """The function called, nothing else."""
    return (yield COMPUTE)


def without_compute() -> Any:
    """For flows that never call a function."""
    raise AssertionError("this flow computes nothing")
