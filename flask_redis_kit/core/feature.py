"""What a feature is: a declaration with hooks, whose state is made once per application."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import click
from flask import Flask, Request

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.config import FeatureConfig
from flask_redis_kit.core.counters import FeatureCounters
from flask_redis_kit.core.errors import NotInitialized
from flask_redis_kit.core.exchange import Exchange, Operation, Outcome
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.keys import KeyBuilder, KeySpec
from flask_redis_kit.core.names import DEFAULT_NAME
from flask_redis_kit.core.request import Deferred, RequestBatch, open_batch
from flask_redis_kit.core.transaction import Transaction
from flask_redis_kit.core.views import current_application, current_context
from flask_redis_kit.core.wire import Wire, drive

T = TypeVar("T")
C = TypeVar("C", bound=FeatureConfig)
E = TypeVar("E")


def current_state(kit_name: str = DEFAULT_NAME) -> AppState:
    """The state of a kit in the current application; ``NotInitialized`` says what is missing."""
    app = current_application()
    if app is None:
        raise NotInitialized(
            "There is no current application. Call this in a request, or inside "
            "`with app.app_context():`."
        )
    return state_in(app, kit_name)


def state_in(app: Flask, kit_name: str) -> AppState:
    """The state of a kit in an application; ``NotInitialized`` says what is missing."""
    try:
        state: AppState = app.extensions["redis_kit"][kit_name]
    except KeyError:
        kits = app.extensions.get("redis_kit")
    else:
        return state
    cure = "Did you forget kit.init_app(app)?"
    if kits:
        cure = (
            f"It has {', '.join(map(repr, kits))}: use the decorators of that kit "
            "(@kit.cache.cache_result, @kit.ratelimit.rate_limit), or init_app the missing one."
        )
    raise NotInitialized(f"Application {app.name!r} has no RedisKit named {kit_name!r}. {cure}")


@dataclass(frozen=True, slots=True)
class Context(Generic[C]):
    """All that one feature has in one application."""

    app: Flask
    kit_name: str
    config: C
    wire: Wire
    keys: KeyBuilder
    codec: Codec
    counters: FeatureCounters

    def request(self) -> Request | None:
        """The request being handled by this application, if there is one."""
        context = current_context()
        if context is None or context.app is not self.app:
            return None  # or another application's, that calls this one
        request: Request = context.request
        return request

    def batch(self) -> RequestBatch | None:
        """The batch of the request being handled by this application, if there is one."""
        request = self.request()
        return None if request is None else open_batch(request, self.kit_name, self.app)

    def send(self, exchange: Exchange[T]) -> T:
        """Send now: in a request together with all it has pending, elsewhere alone."""
        outcome: Outcome[T] = self.send_many((exchange,))[0]
        return outcome.result()

    def send_many(
        self, exchanges: Sequence[Exchange[Any]], batch: RequestBatch | None = None
    ) -> list[Outcome[Any]]:
        """Send several in one trip; each has its own outcome.

        ``batch``: that of the current request, if the caller has it at hand.
        """
        report = self.counters.due(self.wire)
        if report is not None:
            return self._send_many((*exchanges, report), batch)[:-1]
        return self._send_many(exchanges, batch)

    def _send_many(
        self, exchanges: Sequence[Exchange[Any]], batch: RequestBatch | None
    ) -> list[Outcome[Any]]:
        batch = self.batch() if batch is None else batch
        if batch is None:
            return self.wire.send_many(exchanges)
        return batch.call(self.wire, exchanges)

    def run(self, operation: Operation[T]) -> T:
        """Run an operation, one trip per Exchange."""
        if isinstance(operation, Exchange):
            return self.send(operation)
        return drive(operation, self.send)

    def defer(
        self,
        exchange: Exchange[T],
        *,
        done: Callable[[Outcome[T]], None] | None = None,
        when: Callable[[], bool] | None = None,
    ) -> Deferred[T] | None:
        """Send at the end of the request; outside of one, at once (and then None is returned)."""
        batch = self.batch()
        if batch is not None:
            return batch.defer(self.wire, exchange, done=done, when=when)
        if when is None or when():
            outcome = self.wire.send_many((exchange,))[0]
            if done is not None:
                done(outcome)
        return None


class Feature(Generic[C, E]):
    """Base of every feature, built-in or third-party; ``kit.register(feature)`` is the way in.

    A feature object is a declaration: it holds no application, client or setting. Per application
    the kit reads ``config_class`` from ``<PREFIX>_<SECTION>_…``, makes a ``Context`` and calls
    ``build`` once, at the first use; what it returns is the feature's engine there.
    """

    name: ClassVar[str]
    """The attribute of the kit, e.g. ``"cache"``."""
    config_class: ClassVar[type[FeatureConfig]] = FeatureConfig
    keyspace: ClassVar[tuple[KeySpec, ...]] = ()
    """Every kind of key it writes."""

    _locate: Callable[[], AppState] | None = None

    @property
    def section(self) -> str:
        """The part of its config keys between prefix and field."""
        return self.name.upper()

    def install(self, app: Flask) -> None:
        """Add hooks to an application. Called in ``init_app``: no I/O, no threads."""

    def build(self, context: Context[C]) -> E:
        """Make the engine of one application. No I/O."""
        raise NotImplementedError(f"{type(self).__name__} must define build()")

    def commands(self) -> Sequence[click.Command]:
        """Commands (or groups) of ``flask redis``."""
        return ()

    def warnings(self, context: Context[C]) -> Iterable[str]:  # noqa: ARG002  # a no-op hook
        """Warnings about this application's settings or server, for ``flask redis info``."""
        return ()

    def transactional(self, tx: Transaction) -> object | None:  # noqa: ARG002  # a no-op hook
        """What ``tx.<name>`` is in the block of a transaction; None: it takes no part in them.

        Its methods give their Exchanges to ``tx.add(context.wire, exchange, "feature.call('a')")``
        and return the ``Result`` that they get.
        """
        return None

    def close(self, engine: E) -> None:
        """End what the engine opened."""

    def bind(self, locate: Callable[[], AppState]) -> None:
        """Called by the kit that registers the feature: how to find the current app's state."""
        if self._locate is not None and self._locate != locate:
            raise NotInitialized(f"This {self.name} feature belongs to another kit already.")
        self._locate = locate

    def state(self) -> AppState:
        """The state of the kit in the current application."""
        if self._locate is None:
            raise NotInitialized(
                f"This {self.name} feature has no kit. Did you forget kit.register(...)?"
            )
        return self._locate()

    def engine(self) -> E:
        """The feature's engine in the current application."""
        locate = self._locate or self.state  # which says what is missing
        engine: E = locate().engine(self)
        return engine

    def context(self) -> Context[C]:
        """The feature's context in the current application."""
        context: Context[C] = self.state().contexts[self.name]
        return context


class AppState:
    """All state of one kit in one application: contexts at once, engines at their first use."""

    def __init__(self, app: Flask, kit_name: str) -> None:
        self.app = app
        self.kit_name = kit_name
        self.features: dict[str, Feature[Any, Any]] = {}
        self.contexts: dict[str, Context[Any]] = {}
        self._engines: dict[str, Any] = {}
        self._lock = threading.RLock()
        renew_in_child(self)

    def engine(self, feature: Feature[Any, Any]) -> Any:
        """The engine of a feature, built at the first call."""
        try:
            return self._engines[feature.name]
        except KeyError:
            pass  # what building it may raise is not raised because of that
        return self._built(feature)

    def _built(self, feature: Feature[Any, Any]) -> Any:
        with self._lock:
            engine = self._engines.get(feature.name)
            if engine is None:
                if feature.name not in self.contexts:
                    raise NotInitialized(
                        f"{feature.name!r} was registered after init_app({self.app.name}). "
                        "Register features first."
                    )
                engine = feature.build(self.contexts[feature.name])
                self._engines[feature.name] = engine
        return engine

    def engine_named(self, name: str) -> Any:
        """The engine of the feature with this name; ``NotInitialized`` if the kit lacks it."""
        feature = self.features.get(name)
        if feature is None:
            raise NotInitialized(
                f"The kit of {self.app.name!r} has no feature {name!r}: it was made with "
                f"features={tuple(self.features)!r}."
            )
        return self.engine(feature)

    def built(self, name: str) -> Any | None:
        """The engine if it was built already."""
        return self._engines.get(name)

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that doesn't exist here."""
        self._lock = threading.RLock()
