"""``with kit.transaction() as tx:``: what the block collects, and how it is sent at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

from flask_redis_kit.core.atomic import Executed, execute
from flask_redis_kit.core.command_keys import keys_of, refusal
from flask_redis_kit.core.errors import TransactionMisused
from flask_redis_kit.core.exchange import Exchange, Outcome, Reply, first
from flask_redis_kit.core.request import RequestBatch
from flask_redis_kit.core.script import Arg
from flask_redis_kit.core.steps import Explain, Result, Step, common_slot, partial, refused
from flask_redis_kit.core.wire import Tally, Wire

T = TypeVar("T")
_open: ContextVar[Transaction | None] = ContextVar("redis_kit_transaction", default=None)


class Transaction:
    """Collects operations, and sends them as MULTI … EXEC when its block ends without an error.

    ``tx.cache``, ``tx.events``, ``tx.queue`` and the features of others stand for what the kit's
    features do in it; ``execute`` is for commands of your own. Each call returns a ``Result``.
    """

    def __init__(
        self,
        wire: Wire,
        batch: Callable[[], RequestBatch | None],
        facade: Callable[[Transaction, str], object],
    ) -> None:
        self._own_wire = wire
        self._batch = batch
        self._facade = facade
        self._facades: dict[str, object] = {}
        self._state: Literal["made", "open", "ended"] = "made"
        self._thread = 0
        self._wire: Wire | None = None
        self._owner = ""
        self._steps: list[Step[Any]] = []
        self._aside: list[tuple[Exchange[Any], Callable[[Outcome[Any]], None]]] = []

    # in the block

    def execute(self, *command: Arg, keys: Sequence[str | bytes] | None = None) -> Result[Any]:
        """A command of your own: ``tx.execute("SET", "stock:7", 3)``. Its reply is bytes, as sent.

        On Cluster the first argument is taken for the key, of the usual commands with several keys
        all of them; name the ``keys`` where that is not right.
        """
        if not command or not isinstance(command[0], str):
            raise TypeError(f'execute() takes a command: execute("SET", key, value), not {command}')
        name = " ".join([command[0], *(repr(key) for key in keys_of(command)[:1])])
        reason = refusal(command[0])
        if reason is not None:
            raise TransactionMisused(f"{command[0]} can't be in a transaction: {reason}.")
        for argument in command:
            if isinstance(argument, bool) or not isinstance(argument, Arg):
                raise TypeError(
                    f"{name}: Redis takes str, bytes, int and float, not {argument!r:.100}."
                )
        found = keys_of(command) if keys is None else tuple(keys)
        exchange: Exchange[Any] = Exchange("commands", "", [command], first)
        return self._take(self._own_wire, Step(name, [exchange], lambda values: values[0], found))

    def add(
        self, wire: Wire, exchange: Exchange[T], name: str, *, explain: Explain | None = None
    ) -> Result[T]:
        """For features: take up one Exchange; ``wire`` is that of the feature's context.

        ``name`` says in errors which call it was: ``cache.delete('a')``. ``explain`` may make the
        server's error clearer.
        """
        return self.add_all(
            wire, [exchange], name, lambda values: cast("T", values[0]), explain=explain
        )

    def add_all(
        self,
        wire: Wire,
        exchanges: Sequence[Exchange[Any]],
        name: str,
        combine: Callable[[list[Any]], T],
        *,
        explain: Explain | None = None,
    ) -> Result[T]:
        """The same with several Exchanges; ``combine`` makes one value of theirs, at the end."""
        keys = [exchange.key for exchange in exchanges if exchange.key]
        return self._take(wire, Step(name, exchanges, combine, keys, explain))

    def add_aside(self, exchange: Exchange[T], done: Callable[[Outcome[T]], None]) -> None:
        """For features: what goes along with the transaction but may fail without harm to it.

        It goes into the same MULTI, on Cluster after it as its key lies elsewhere; ``done`` gets
        its outcome if the transaction went through.
        """
        self._aside.append((exchange, done))

    def settled(self, value: T, name: str) -> Result[T]:
        """For features: the result of a call that has nothing to send (it is switched off)."""
        return self.add_all(self._own_wire, [], name, lambda _: value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._facades:
            self._facades[name] = self._facade(self, name)
        return self._facades[name]

    def _take(self, wire: Wire, step: Step[T]) -> Result[T]:
        if self._state != "open":
            when = "before" if self._state == "made" else "after"
            raise TransactionMisused(
                f"{step.name} {when} the block of its transaction: call it inside "
                "`with kit.transaction() as tx:`."
            )
        if step.exchanges:
            self._go_by(wire, step.exchanges[0].feature)
        self._steps.append(step)
        return step.result

    def _go_by(self, wire: Wire, feature: str) -> None:
        if self._wire is None:
            self._wire, self._owner = wire, feature
        elif self._wire is not wire:
            raise TransactionMisused(
                f"{_placed(self._owner, self._wire)}, {_placed(feature, wire)}: a transaction is "
                "on one server. Give both the same server (REDIS_<FEATURE>_URL), or use a "
                "transaction for each."
            )

    # the block

    def __enter__(self) -> Self:
        if self._state != "made":
            raise TransactionMisused(
                "A transaction has one block. Begin another: `with kit.transaction() as tx:`."
            )
        outer = _open.get()
        thread = threading.get_ident()
        if outer is not None and outer._state == "open" and outer._thread == thread:
            raise TransactionMisused(
                "A transaction inside the block of another would be sent before it, and stay if "
                "the outer one fails. Use the outer one's tx."
            )
        self._state, self._thread = "open", thread
        _open.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "ended"
        _open.set(None)
        if kind is not None:
            self._settle_all(
                TransactionMisused(f"Nothing was sent: the block raised {kind.__name__}.")
            )
            return
        try:
            sends = any(step.exchanges for step in self._steps)
            self._settle(self._send() if sends else Executed([]))
        except Exception as failure:
            self._settle_all(failure)
            raise

    def _send(self) -> Executed:
        wire = self._wire or self._own_wire
        exchanges = [exchange for step in self._steps for exchange in step.exchanges]
        slot = common_slot(self._steps) if wire.clustered else None
        if not wire.clustered:
            exchanges += [exchange for exchange, _ in self._aside]

        def send(tally: Tally | None) -> Executed:
            return execute(wire, exchanges, slot, tally)

        batch = self._batch()
        if batch is None:
            executed = send(None)
        else:
            executed = batch.apart(wire, {exchange.feature for exchange in exchanges}, send)
        if executed.refusal is not None:
            raise refused(self._steps, executed.refusal) from executed.refusal.error
        return executed

    def _settle(self, executed: Executed) -> None:
        """Hand out what came of it; raises ``TransactionPartial``."""
        replies = list(executed.replies)
        outcomes = [step.outcome(replies) for step in self._steps]
        for step, outcome in zip(self._steps, outcomes, strict=True):
            step.result.settle(outcome)
        failed = [s for s, outcome in zip(self._steps, outcomes, strict=True) if outcome.error]
        if failed or executed.unprotected is not None:
            raise partial(self._steps, outcomes, executed.unprotected) from (
                executed.unprotected or next(o.error for o in outcomes if o.error)
            )
        self._settle_aside(replies)

    def _settle_aside(self, replies: list[Reply]) -> None:
        wire, batch = self._wire or self._own_wire, self._batch()
        for exchange, done in self._aside:
            if not wire.clustered:
                count = len(exchange.commands)
                mine, replies[:count] = replies[:count], []
                done(exchange.outcome(mine))
            elif batch is not None:
                batch.defer(wire, exchange, done=done)
            else:
                done(wire.send_many([exchange])[0])

    def _settle_all(self, error: Exception) -> None:
        for step in self._steps:
            step.result.settle(Outcome(error=error))


def _placed(feature: str, wire: Wire) -> str:
    what = "execute()" if feature == "commands" else feature
    return f"{what} is on {wire.connector.address}"
