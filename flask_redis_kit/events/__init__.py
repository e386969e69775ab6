"""Events: to other processes and to browsers, with what was missed replayed."""

from flask_redis_kit.events.body import Event
from flask_redis_kit.events.errors import (
    BrokenChannel,
    EventDataError,
    EventNameError,
    EventTooLarge,
)
from flask_redis_kit.events.feature import EventsFeature
from flask_redis_kit.events.publisher import Publication
from flask_redis_kit.events.reader import EventReader

__all__ = [
    "BrokenChannel",
    "Event",
    "EventDataError",
    "EventNameError",
    "EventReader",
    "EventTooLarge",
    "EventsFeature",
    "Publication",
]
