"""A crash-safe task queue on lists, and its workers."""

from flask_redis_kit.queue.feature import QueueFeature

__all__ = ["QueueFeature"]
