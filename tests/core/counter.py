"""A third-party feature, as a user of the kit would write one: named counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar

from flask_redis_kit.core.config import FeatureConfig
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.core.request import RequestBatch
from flask_redis_kit.core.steps import Result
from flask_redis_kit.core.transaction import Transaction
from flask_redis_kit.core.views import PLAN


@dataclass(frozen=True, slots=True)
class CounterConfig(FeatureConfig):
    """``REDIS_COUNTER_STEP``: by how much to count."""

    step: int = 1


class Engine:
    """Exchanges of the counters of one application."""

    def __init__(self, context: Context[CounterConfig]) -> None:
        self.context = context

    def key(self, name: str) -> str:
        return self.context.keys.key("all", "counter", "n", name)

    def read(self, name: str) -> Exchange[int]:
        key = self.key(name)
        return Exchange("counter", key, [("GET", key)], lambda r: int(r[0] or 0), read_only=True)

    def add(self, name: str) -> Exchange[int]:
        key = self.key(name)
        commands = [("INCRBY", key, self.context.config.step), ("EXPIRE", key, 60)]
        return Exchange("counter", key, commands, first)


class CounterTransaction:
    """``tx.counter.add``."""

    def __init__(self, engine: Engine, tx: Transaction) -> None:
        self._engine = engine
        self._tx = tx

    def add(self, name: str) -> Result[int]:
        wire = self._engine.context.wire
        return self._tx.add(wire, self._engine.add(name), f"counter.add({name!r})")


class CounterFeature(Feature[CounterConfig, Engine]):
    """``kit.counter.read/add/later``, and a decorator that reads ahead."""

    name: ClassVar[str] = "counter"
    config_class: ClassVar[type[FeatureConfig]] = CounterConfig
    keyspace: ClassVar[tuple[KeySpec, ...]] = (
        KeySpec("frk:{<ns>:all}:counter:n:<name>", "string", "60 s", "a counter"),
    )

    def build(self, context: Context[CounterConfig]) -> Engine:
        return Engine(context)

    def read(self, name: str) -> int:
        return self.context().send(self.engine().read(name))

    def add(self, name: str) -> int:
        return self.context().send(self.engine().add(name))

    def later(self, name: str, **options: Any) -> None:
        self.context().defer(self.engine().add(name), **options)

    def transactional(self, tx: Transaction) -> CounterTransaction:
        return CounterTransaction(self.engine(), tx)

    def reading_ahead(self, name: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
        """The view gets ``count=``; read together with whatever is sent before it."""

        def decorate(view: Callable[..., str]) -> Callable[..., str]:
            @wraps(view)
            def wrapper(*args: Any, **kwargs: Any) -> str:
                batch = self.context().batch()
                pending = batch.planned(wrapper) if batch else None
                count = pending.result() if pending else self.read(name)
                return view(*args, count=count, **kwargs)

            def plan(batch: RequestBatch) -> None:
                batch.plan(wrapper, self.context().wire, self.engine().read(name))

            setattr(wrapper, PLAN, plan)
            return wrapper

        return decorate
