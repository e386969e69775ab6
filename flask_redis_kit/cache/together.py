"""Several flows at once: what they want to send travels together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from flask_redis_kit.cache.flow import Flow
from flask_redis_kit.core.exchange import Exchange, Outcome

T = TypeVar("T")
SendMany = Callable[[Sequence[Exchange[Any]]], list[Outcome[Any]]]


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
