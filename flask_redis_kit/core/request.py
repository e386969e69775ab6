"""The request batch: what one request has pending, what it has deferred, and when both are sent.

Pending are read-only look-ups that the request will need if it needs anything (its session, its
cached page). They go out with the first Exchange that is needed now. Deferred are writes nobody
waits for; they go out together at the end. A request that needs nothing sends nothing.
The batch lives on its request, so threads that share the request share it. A WSGI environ that is
used again, or copied to ask for a part of a page, makes another request with another batch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from flask import Flask, Request, Response

from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.views import current_context, view_of
from flask_redis_kit.core.wire import Tally, Wire

log = logging.getLogger(__name__)
T = TypeVar("T")
_ENVIRON = "flask_redis_kit.batch."
_BATCHES = "_redis_kit_batches"


class Pending(Generic[T]):
    """A look-up that is not sent before it, or anything else, is needed."""

    __slots__ = ("_batch", "exchange", "outcome", "wire")

    def __init__(self, batch: RequestBatch, wire: Wire, exchange: Exchange[T]) -> None:
        self._batch = batch
        self.wire = wire
        self.exchange = exchange
        self.outcome: Outcome[T] | None = None

    def result(self) -> T:
        """Its value; sends what is pending if it wasn't sent yet. Raises its error."""
        if self.outcome is None:
            self._batch.settle(self)
        assert self.outcome is not None  # noqa: S101  # settle() always sets it
        return self.outcome.result()


class Deferred(Generic[T]):
    """A write that waits for the end of the request; ``outcome`` is None until it was sent."""

    __slots__ = ("done", "exchange", "outcome", "when", "wire")

    def __init__(
        self,
        wire: Wire,
        exchange: Exchange[T],
        done: Callable[[Outcome[T]], None] | None,
        when: Callable[[], bool] | None,
    ) -> None:
        self.wire = wire
        self.exchange = exchange
        self.done = done
        self.when = when
        self.outcome: Outcome[T] | None = None


class RequestBatch:
    """What one request has pending and deferred. Thread-safe."""

    def __init__(self, planner: Callable[[RequestBatch], None] | None = None) -> None:
        self._lock = threading.RLock()
        self._planner = planner
        self._pending: list[Pending[Any]] = []
        self._deferred: list[Deferred[Any]] = []
        self._planned: dict[object, Pending[Any]] = {}
        self._entered: set[object] = set()
        self._errors: list[Exception] = []
        self.on_failure: list[Callable[[], object]] = []
        """What gives back, where no response is made, what is given back with it otherwise."""
        self.finished = False
        self.trips = 0
        """Round trips of this request so far."""
        self.response: Response | None = None
        """What hooks have made of its response, once they have: they may have put another there."""
        self.notes: dict[str, Any] = {}
        """What features remember for the length of the request, by feature name."""

    def prefetch(self, wire: Wire, exchange: Exchange[T]) -> Pending[T]:
        """Register a read-only look-up; it is sent with the first Exchange needed."""
        pending = Pending(self, wire, exchange)
        with self._lock:
            self._pending.append(pending)
        return pending

    def withdraw(self, pending: Pending[Any]) -> None:
        """Don't send this look-up along with anything; ``settle`` still sends it."""
        with self._lock:
            if pending in self._pending:
                self._pending.remove(pending)

    def plan(self, owner: object, wire: Wire, exchange: Exchange[Any]) -> None:
        """Register a look-up for a decorator that is going to ask for it by ``planned``."""
        self._planned[owner] = self.prefetch(wire, exchange)

    def planned(self, owner: object) -> Pending[Any] | None:
        """The look-up planned for ``owner``, once, if it was sent and still holds."""
        pending = self._planned.pop(owner, None)
        if pending is None:
            return None
        if pending.outcome is None:
            self.withdraw(pending)
            return None
        return pending

    def call(self, wire: Wire, exchanges: Sequence[Exchange[Any]]) -> list[Outcome[Any]]:
        """Send now, in one trip: what is pending here, their features' earlier writes, these."""
        with self._lock:
            if self._planner is not None:
                self._run_planner()
            if self._planned:
                written = {exchange.feature for exchange in exchanges if not exchange.read_only}
                if written:
                    self._forget_plans(written)
            if not (self._deferred or self._pending):
                return wire.send_many(exchanges, self) if exchanges else []
            if not self._deferred:
                return self._send(wire, (), exchanges)
            features = {exchange.feature for exchange in exchanges}
            earlier = [
                d for d in self._deferred if d.wire is wire and d.exchange.feature in features
            ]
            return self._send(wire, earlier, exchanges)

    def apart(self, wire: Wire, features: set[str], send: Callable[[Tally], T]) -> T:
        """Let ``send`` make a trip of its own, with writes of these features (a transaction).

        Their earlier writes that wait for the end of the request are sent in a trip before it.
        """
        with self._lock:
            self._forget_plans(features)
            earlier = [
                d for d in self._deferred if d.wire is wire and d.exchange.feature in features
            ]
            if earlier:
                self._send(wire, earlier, ())
            return send(self)

    def settle(self, pending: Pending[Any]) -> None:
        """Send all that is pending on this look-up's wire, and it with them."""
        with self._lock:
            if pending.outcome is None:
                self._run_planner()
                if pending not in self._pending:
                    self._pending.append(pending)
                feature = pending.exchange.feature
                wire = pending.wire
                earlier = [
                    d for d in self._deferred if d.wire is wire and d.exchange.feature == feature
                ]
                self._send(wire, earlier, ())

    def defer(
        self,
        wire: Wire,
        exchange: Exchange[T],
        *,
        done: Callable[[Outcome[T]], None] | None = None,
        when: Callable[[], bool] | None = None,
    ) -> Deferred[T]:
        """Send at the end of the request, if ``when()`` is true then; ``done`` gets the outcome."""
        deferred = Deferred(wire, exchange, done, when)
        with self._lock:
            self._deferred.append(deferred)
            if self.finished:
                self.finish()
        return deferred

    def finish(self) -> None:
        """The end of the request: send all that is deferred, one trip per server.

        What is deferred afterwards (by a streamed body) is sent at once.
        """
        with self._lock:
            self.finished = True
            self._planner = None  # it knows the request, and so this: garbage only for a collector
            self._pending.clear()
            try:
                self.flush()
            finally:
                self.response = None  # a hook may yet drop it, and who waits for that is told

    def flush(self) -> None:
        """Send all that is deferred now; the request goes on.

        Raises what a ``when()`` or a ``done()`` raised so far, after everything is sent.
        """
        if not (self._deferred or self._errors):
            return
        with self._lock:
            while self._deferred:
                self._send(self._deferred[0].wire, list(self._deferred), ())
            errors, self._errors = self._errors, []
        if errors:
            raise errors[0]

    def enter(self, owner: object) -> bool:
        """True for the first call with this owner: the outermost call of a decorated view."""
        with self._lock:
            if owner in self._entered:
                return False
            self._entered.add(owner)
            return True

    def failed(self) -> None:
        """The request ended with an error that goes on to the server: call what waits for that."""
        waiting, self.on_failure = self.on_failure, []
        for call in waiting:
            call()

    def arrived(self) -> None:
        """What could have been planned for has been reached: nothing is left to plan."""
        self._planner = None

    def _run_planner(self) -> None:
        planner, self._planner = self._planner, None
        if planner is not None:
            planner(self)

    def _forget_plans(self, features: set[str]) -> None:
        for owner, pending in list(self._planned.items()):
            if pending.exchange.feature in features:
                del self._planned[owner]
                if pending in self._pending:
                    self._pending.remove(pending)

    def _send(
        self, wire: Wire, deferred: Sequence[Deferred[Any]], exchanges: Sequence[Exchange[Any]]
    ) -> list[Outcome[Any]]:
        if not exchanges and len(self._pending) + len(deferred) == 1:
            alone = (self._pending or deferred)[0]
            if alone.wire is wire:
                self._send_alone(alone)
                return []
        pending: list[Pending[Any]] = []
        if self._pending:
            pending = [p for p in self._pending if p.wire is wire]
            self._pending = [p for p in self._pending if p.wire is not wire]
        writes: list[Deferred[Any]] = []
        if deferred:
            going = [d for d in deferred if d.wire is wire]
            if len(going) == len(self._deferred):  # all of them, the common case
                self._deferred = []
            else:
                taken = {id(d) for d in going}
                self._deferred = [d for d in self._deferred if id(d) not in taken]
            writes = [d for d in going if d.when is None or self._is_wanted(d.when)]
        holders: list[Pending[Any] | Deferred[Any]] = [*pending, *writes]
        batch = [holder.exchange for holder in holders]
        batch += exchanges
        if not batch:
            return []
        outcomes = wire.send_many(batch, self)
        for holder, outcome in zip(holders, outcomes, strict=False):
            holder.outcome = outcome
        for write in writes:
            if write.done is not None:
                self._tell(write)
        return outcomes[len(holders) :]

    def _send_alone(self, holder: Pending[Any] | Deferred[Any]) -> None:
        """Send what is alone in its trip, as most are: the session's load, its save."""
        write = holder if isinstance(holder, Deferred) else None
        if write is None:
            self._pending = []
        else:
            self._deferred.remove(write)
            if write.when is not None and not self._is_wanted(write.when):
                return
        holder.outcome = holder.wire.send_many((holder.exchange,), self)[0]
        if write is not None and write.done is not None:
            self._tell(write)

    def _is_wanted(self, when: Callable[[], bool]) -> bool:
        try:
            return when()
        except Exception as error:  # noqa: BLE001  # raised at the end: others are sent with it
            self._errors.append(error)
            return False

    def _tell(self, deferred: Deferred[Any]) -> None:
        if deferred.done is None or deferred.outcome is None:
            return
        try:
            deferred.done(deferred.outcome)
        except Exception as error:  # noqa: BLE001  # raised at the end: others are told, too
            self._errors.append(error)


def batch_of(of: Request, kit_name: str, app: Flask) -> RequestBatch | None:
    """The batch of a request, if it has one."""
    batches = of.__dict__.get(_BATCHES)
    return None if batches is None else batches.get((kit_name, app))


def last_batch(environ: dict[str, Any], kit_name: str, app: Flask) -> RequestBatch | None:
    """The batch of the latest request in ``app`` with this WSGI environ, if it had one."""
    batch: RequestBatch | None = environ.get(_name(kit_name, app))
    return batch


def _name(kit_name: str, app: Flask) -> str:
    return f"{_ENVIRON}{kit_name}.{id(app)}"


def open_batch(of: Request, kit_name: str, app: Flask) -> RequestBatch:
    """The batch of a request, made at the first call."""
    batches: dict[tuple[str, Flask], RequestBatch] | None = of.__dict__.get(_BATCHES)
    batch = None if batches is None else batches.get((kit_name, app))
    return _opened(of, kit_name, app) if batch is None else batch


def _opened(of: Request, kit_name: str, app: Flask) -> RequestBatch:
    def planner(batch: RequestBatch) -> None:
        for plan in view_of(app, of).plans:
            try:
                plan(batch)
            except Exception:
                # it only saves a trip: the look-up is made at its place, and fails there
                log.warning("A look-up of %r could not be planned", of.endpoint, exc_info=True)

    batches: dict[tuple[str, Flask], RequestBatch] = of.__dict__.setdefault(_BATCHES, {})
    batch = batches.setdefault((kit_name, app), RequestBatch(planner))
    of.environ[_name(kit_name, app)] = batch
    return batch


def current_batch(kit_name: str, app: Flask) -> RequestBatch | None:
    """The batch of the current request if ``app`` handles it, and no other that calls it."""
    context = current_context()
    if context is None or context.app is not app:
        return None
    return open_batch(context.request, kit_name, app)
