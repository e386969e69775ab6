"""How one job is: where its id lies."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.exchange import Command, Exchange, Reply
from flask_redis_kit.queue import record
from flask_redis_kit.queue.job import JobState, JobStatus
from flask_redis_kit.queue.layout import QueueKeys


def status(keys: QueueKeys, codec: Codec, job_id: str) -> Generator[Exchange[Any], Any, JobStatus]:
    """One trip; two if the job is waiting or running, which its workers' lists tell."""
    found: list[Reply] = yield _look(
        keys,
        ("HEXISTS", keys.jobs, job_id),
        ("ZSCORE", keys.delayed, job_id),
        ("HGET", keys.deadx, job_id),
        ("GET", keys.record(job_id)),
        ("ZRANGE", keys.workers, 0, -1),
    )
    exists, delayed, reason, content, workers = found
    kept = record.read(codec, content)
    if reason is not None:
        text = reason.decode(errors="replace")
        return _status(job_id, "dead", kept, reason=text)
    if kept is not None and kept.state == "finished":
        return _status(job_id, "finished", kept)
    if not exists:
        return _status(job_id, "unknown", kept)
    if delayed is not None:
        return _status(job_id, "delayed", kept)
    if not workers:
        return _status(job_id, "waiting", kept)
    places = [("LPOS", keys.active(worker.decode()), job_id) for worker in workers]
    exists, *positions = yield _look(keys, ("HEXISTS", keys.jobs, job_id), *places)
    if not exists:
        return _status(job_id, "unknown", kept)
    running = any(position is not None for position in positions)
    return _status(job_id, "running" if running else "waiting", kept)


def _look(keys: QueueKeys, *commands: Command) -> Exchange[list[Reply]]:
    return Exchange("queue", keys.jobs, commands, lambda replies: replies, read_only=True)


def _status(
    job_id: str, state: JobState, kept: record.Record | None, reason: str | None = None
) -> JobStatus:
    if kept is None:
        return JobStatus(job_id, state, reason=reason)
    return JobStatus(job_id, state, kept.progress, kept.note, kept.result, reason)
