"""``tx.events``: publishing as a part of a transaction."""

from __future__ import annotations

from flask_redis_kit.core.steps import Result
from flask_redis_kit.core.transaction import Transaction
from flask_redis_kit.events.channels import Channel, UserId
from flask_redis_kit.events.engine import EventsEngine
from flask_redis_kit.events.publisher import NOT_PUBLISHED, Publication, clearer


class EventsTransaction:
    """What ``kit.events`` publishes, published with everything else in the block or not at all."""

    def __init__(self, engine: EventsEngine, tx: Transaction) -> None:
        self._engine = engine
        self._tx = tx

    def publish(self, channel: str, type: str, data: object = None) -> Result[Publication]:  # noqa: A002  # the field's name
        """As ``kit.events.publish``."""
        found = self._engine.channels.plain(channel)
        return self._add(f"events.publish({channel!r}, {type!r})", found, type, data)

    def publish_to_user(
        self,
        user_id: UserId,
        type: str,  # noqa: A002  # the field's name
        data: object = None,
    ) -> Result[Publication]:
        """As ``kit.events.publish_to_user``."""
        found = self._engine.channels.user(user_id)
        return self._add(f"events.publish_to_user({user_id!r}, {type!r})", found, type, data)

    def publish_broadcast(self, type: str, data: object = None) -> Result[Publication]:  # noqa: A002  # the field's name
        """As ``kit.events.publish_broadcast``."""
        found = self._engine.channels.broadcast()
        return self._add(f"events.publish_broadcast({type!r})", found, type, data)

    def _add(self, name: str, channel: Channel, type: str, data: object) -> Result[Publication]:  # noqa: A002  # the field's name
        exchange = self._engine.publication(channel, type, data)
        if not self._engine.config.enabled:
            return self._tx.settled(NOT_PUBLISHED, name)
        return self._tx.add(
            self._engine.wire, exchange, name, explain=lambda error, _: clearer(error, channel)
        )
