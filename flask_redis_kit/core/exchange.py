"""Commands as values: what to send, where it belongs, and what its replies mean.

An ``Exchange`` says everything the wire must know to send it alone, with others in one trip, or in
a transaction. Its replies are raw and always bytes, whatever the user chose for his own client;
as they differ between RESP2 and RESP3 in a few places, ``pairs`` and ``number`` read both.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from flask_redis_kit.core.script import Arg, ScriptCall

T = TypeVar("T")

Command: TypeAlias = tuple[Arg, ...] | ScriptCall
Reply: TypeAlias = Any  # what hiredis makes of a reply: bytes, int, float, None, list, dict


class Exchange(Generic[T]):
    """The commands for one slot, and the function that turns their replies into a value.

    ``feature``     whose it is: order is kept within a feature.
    ``key``         any of its keys: all lie in one slot, which routes it on Cluster.
    ``commands``    sent in this order. A script's reply must not be needed by a later command.
    ``parse``       gets one reply per command, none of them an error.
    ``read_only``   changes nothing, so it may go ahead of its place and be sent again.
    ``idempotent``  running it twice is the same as once, so it is sent again after a lost reply.
    ``deferrable``  nobody waits for its reply: it may ride with the last trip of a request.
    """

    __slots__ = ("commands", "deferrable", "feature", "idempotent", "key", "parse", "read_only")

    def __init__(
        self,
        feature: str,
        key: str,
        commands: Sequence[Command],
        parse: Callable[[list[Reply]], T],
        *,
        read_only: bool = False,
        idempotent: bool = False,
        deferrable: bool = False,
    ) -> None:
        self.feature = feature
        self.key = key
        self.commands = commands
        self.parse = parse
        self.read_only = read_only
        self.idempotent = idempotent or read_only
        self.deferrable = deferrable

    def outcome(self, replies: list[Reply]) -> Outcome[T]:
        """The value of these replies, the first error among them, or what ``parse`` raised."""
        for reply in replies:
            if isinstance(reply, Exception):
                return Outcome(error=reply)
        try:
            return Outcome(self.parse(replies))
        except Exception as error:  # noqa: BLE001  # it is this Exchange's, not its neighbours'
            return Outcome(error=error)

    def __repr__(self) -> str:
        return f"Exchange({self.feature} {self.key!r}, {len(self.commands)} commands)"


Operation: TypeAlias = Exchange[T] | Generator[Exchange[Any], Any, T]
"""One Exchange, or a generator of them where the next depends on the last reply."""


class Outcome(Generic[T]):
    """What came of one Exchange: a value or an error, so that one can't poison the others."""

    __slots__ = ("_value", "error")

    def __init__(self, value: T | None = None, *, error: Exception | None = None) -> None:
        self._value: Any = value
        self.error = error

    def result(self) -> T:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        value: T = self._value
        return value


def first(replies: list[Reply]) -> Reply:
    """The only reply of a one-command exchange."""
    return replies[0]


def pairs(reply: Reply) -> dict[bytes, Any]:
    """A map reply (HGETALL), which RESP2 sends as a flat list."""
    if isinstance(reply, dict):
        return reply
    items: Iterable[Any] = iter(reply or ())
    return dict(zip(items, items, strict=True))


def number(reply: Reply) -> float | None:
    """A score (ZSCORE, ZMSCORE), which RESP2 sends as text."""
    return None if reply is None else float(reply)
