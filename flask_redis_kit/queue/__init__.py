"""A crash-safe task queue on lists, and its workers."""

from flask_redis_kit.queue.errors import LeaseLost, QueueDamaged, TaskError
from flask_redis_kit.queue.feature import QueueFeature
from flask_redis_kit.queue.job import CurrentJob, JobStatus, current_job

__all__ = [
    "CurrentJob",
    "JobStatus",
    "LeaseLost",
    "QueueDamaged",
    "QueueFeature",
    "TaskError",
    "current_job",
]
