"""Publishing: one script call, one round trip."""

from __future__ import annotations

from typing import NamedTuple

from flask_redis_kit.core.exchange import Exchange, Reply
from flask_redis_kit.core.script import Script
from flask_redis_kit.events.body import encode
from flask_redis_kit.events.channels import Channel
from flask_redis_kit.events.errors import BrokenChannel

PUBLISH = Script("flask_redis_kit.events", "lua/publish.lua")


class Publication(NamedTuple):
    """What became of an event: its id in its channel, and how many processes heard it live.

    Nobody hearing it (0) is no loss: it is in the channel's history.
    """

    id: str
    receivers: int


NOT_PUBLISHED = Publication("0-0", 0)
"""What publishing gives while REDIS_EVENTS_ENABLED is false."""


def publish_exchange(
    channel: Channel,
    type: str,  # noqa: A002  # the field's name
    data: object,
    payload_limit: int,
) -> Exchange[Publication]:
    """The publication as an Exchange; never sent twice. Errors of bad input are raised here."""
    call = PUBLISH.call(
        (channel.history, channel.meta),
        (
            channel.topic,
            encode(type, data, payload_limit),
            channel.history_length,
            channel.history_ttl_ms,
            channel.meta_ttl_ms,
        ),
    )
    return Exchange("events", channel.history, [call], _publication)


def _publication(replies: list[Reply]) -> Publication:
    id, receivers = replies[0]  # noqa: A001
    return Publication(id.decode(), int(receivers))


def clearer(error: Exception, channel: Channel) -> Exception:
    """A server's refusal, told by what to do where that is known."""
    if isinstance(error, BrokenChannel) or "WRONGTYPE" not in str(error):
        return error
    return BrokenChannel(
        f"channel {channel.name!r}: {channel.history} or {channel.meta} holds something that is "
        "not the kit's. Delete it, or choose another REDIS_NAMESPACE.",
        key=channel.history,
    )
