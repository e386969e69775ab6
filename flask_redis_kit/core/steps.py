"""The calls in the block of a transaction: their results, and what is said of them in errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from redis.crc import key_slot
from redis.exceptions import ClusterCrossSlotError

from flask_redis_kit.core.atomic import Refusal
from flask_redis_kit.core.errors import (
    CrossSlotError,
    TransactionMisused,
    TransactionPartial,
    TransactionRefused,
)
from flask_redis_kit.core.exchange import Exchange, Outcome, Reply
from flask_redis_kit.core.script import Arg

T = TypeVar("T")
Explain = Callable[[Exception, Exchange[Any]], Exception]
_SHOWN = 10


class Result(Generic[T]):
    """What a call in the block will have returned: there when the block has ended."""

    __slots__ = ("_name", "_outcome")

    def __init__(self, name: str, outcome: Outcome[T] | None = None) -> None:
        self._name = name
        self._outcome = outcome

    def result(self) -> T:
        """The value. Raises the call's own error, or that of the transaction.

        ``TransactionMisused`` inside the block: nothing was sent yet.
        """
        if self._outcome is None:
            raise TransactionMisused(
                f"{self._name} has no result yet: the transaction is sent at the end of its block. "
                "Read the result after that."
            )
        return self._outcome.result()

    @property
    def value(self) -> T:
        """The same as ``result()``."""
        return self.result()

    def __bool__(self) -> bool:
        raise TransactionMisused(
            f"{self._name} in a transaction returns a handle, which is neither true nor false: "
            "use its .value, after the block."
        )

    def settle(self, outcome: Outcome[T]) -> None:
        if self._outcome is None:
            self._outcome = outcome

    def __repr__(self) -> str:
        state = "pending" if self._outcome is None else repr(self._outcome)
        return f"Result({self._name}: {state})"


class Step(Generic[T]):
    """One call of the block: its Exchanges, and what ``combine`` makes of their values.

    ``keys`` are all the keys that it is known to touch.
    """

    def __init__(
        self,
        name: str,
        exchanges: Sequence[Exchange[Any]],
        combine: Callable[[list[Any]], T],
        keys: Sequence[Arg],
        explain: Explain | None = None,
    ) -> None:
        self.name = name
        self.exchanges = exchanges
        self.combine = combine
        self.keys = keys
        self.explain = explain
        self.result: Result[T] = Result(name)
        self.began = False
        """Whether any of its commands was applied."""

    def outcome(self, replies: list[Reply]) -> Outcome[T]:
        """What came of it; takes its replies from the front of the list."""
        values: list[Any] = []
        error: Exception | None = None
        for exchange in self.exchanges:
            count = len(exchange.commands)
            mine, replies[:count] = replies[:count], []
            self.began = self.began or any(not isinstance(reply, Exception) for reply in mine)
            outcome = exchange.outcome(mine)
            if outcome.error is None:
                values.append(outcome.result())
            elif error is None:
                error = self.explain(outcome.error, exchange) if self.explain else outcome.error
        return Outcome(self.combine(values)) if error is None else Outcome(error=error)


def common_slot(steps: Sequence[Step[Any]]) -> int | None:
    """The slot of all keys, None without any; ``CrossSlotError`` if they have several."""
    slots: dict[int, list[str]] = {}
    for step in steps:
        for key in dict.fromkeys(step.keys):
            slots.setdefault(_slot(key), []).append(f"{_shown(key)} of {step.name}")
    if len(slots) <= 1:
        return next(iter(slots), None)
    most = max(slots.values(), key=len)
    others = [text for texts in slots.values() if texts is not most for text in texts]
    raise CrossSlotError(
        f"On a Cluster all keys of a transaction must lie in one slot. Not in that of {most[0]}"
        f"{f' and {len(most) - 1} more' if len(most) > 1 else ''}: {_listed(others)}. Give keys "
        "of your own the same hash tag, such as {user:7}:cart; the keys of a feature lie where "
        "it needs them, so what it does there goes into a transaction of its own, or none."
    )


def refused(steps: Sequence[Step[Any]], refusal: Refusal) -> Exception:
    """The error of a transaction that the server would not take."""
    names = [step.name for step in steps for e in step.exchanges for _ in e.commands]
    position = refusal.position
    name = names[position] if position is not None and position < len(names) else "it"
    error = refusal.error
    if isinstance(error, ClusterCrossSlotError):
        return CrossSlotError(
            f"The keys of {name} lie in several slots of the Cluster; nothing was applied. "
            "Give them the same hash tag, such as {user:7}:cart."
        )
    return TransactionRefused(
        f"Nothing of the transaction was applied: the server refused {name} "
        f"({type(error).__name__}: {error})."
    )


def partial(
    steps: Sequence[Step[Any]], outcomes: Sequence[Outcome[Any]], unprotected: Exception | None
) -> TransactionPartial:
    """The error of a transaction of which something failed while it ran."""
    applied, failed, told = [], [], []
    for step, outcome in zip(steps, outcomes, strict=True):
        if outcome.error is None:
            applied.append(step.name)
        else:
            failed.append(step.name)
            part = ", of which a part was applied" if step.began else ""
            told.append(f"{step.name} ({outcome.error}){part}")
    why = "The transaction was applied in part; Redis takes nothing back."
    if unprotected is not None:
        why = (
            f"The server refuses MULTI ({unprotected}), so the commands ran one by one, others "
            "could come between: let its user have +multi and +exec."
        )
    return TransactionPartial(
        f"{why} Failed: {_listed(told)}. Applied: {_listed(applied)}.",
        applied=applied,
        failed=failed,
        outcomes=outcomes,
    )


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ("; ".join(texts[:_SHOWN]) or "nothing") + more


def _slot(key: Arg) -> int:
    raw = key if isinstance(key, bytes) else str(key).encode()
    return int(key_slot(raw))


def _shown(key: Arg) -> str:
    return repr(key.decode(errors="replace") if isinstance(key, bytes) else str(key))
