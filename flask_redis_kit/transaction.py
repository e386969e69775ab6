"""``kit.transaction()``: the transaction with the kit's features in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask_redis_kit.cache.transaction import CacheTransaction
from flask_redis_kit.core.errors import TransactionMisused
from flask_redis_kit.core.feature import Feature
from flask_redis_kit.core.request import current_batch
from flask_redis_kit.core.state import KitState
from flask_redis_kit.core.transaction import Transaction
from flask_redis_kit.events.transaction import EventsTransaction
from flask_redis_kit.queue.transaction import QueueTransaction


class KitTransaction(Transaction):
    """A transaction of a ``RedisKit``; a feature of others is there under its own name."""

    cache: CacheTransaction
    events: EventsTransaction
    queue: QueueTransaction


def begin(
    locate: Callable[[], KitState], features: Mapping[str, Feature[Any, Any]]
) -> KitTransaction:
    """A transaction of the application that is current now, on its own server."""
    state = locate()

    def facade(tx: Transaction, name: str) -> object:
        feature = features.get(name)
        if feature is None:
            raise AttributeError(
                f"A transaction has execute() and the kit's features ({', '.join(features)}), "
                f"but no {name!r}."
            )
        if locate() is not state:
            raise TransactionMisused(
                f"This transaction is of the application {state.app.name!r}, which is not the "
                f"current one where tx.{name} is used."
            )
        found = feature.transactional(tx)
        if found is None:
            raise TransactionMisused(
                f"The feature {name!r} takes no part in transactions: use kit.{name} before or "
                "after the block."
            )
        return found

    return KitTransaction(state.wire(), lambda: current_batch(state.kit_name, state.app), facade)
