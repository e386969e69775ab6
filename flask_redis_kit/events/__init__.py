"""Events: to other processes and to browsers, with what was missed replayed."""

from flask_redis_kit.events.feature import EventsFeature

__all__ = ["EventsFeature"]
