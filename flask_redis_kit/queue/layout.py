"""Where a queue lies in the server: its keys, all in one slot, and what each one is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import uuid4

from flask_redis_kit.core.keys import KeyBuilder, KeySpec
from flask_redis_kit.queue.errors import TaskError

PRIORITIES = {"high": "h", "normal": "n", "low": "l"}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_HEX = re.compile(r"[0-9a-f]{32}\Z")
_START = "frk:{<ns>:<queue>}:queue:"

KEYSPACE = (
    KeySpec(_START + "w:h", "list", None, "ids waiting, high priority; gone when empty"),
    KeySpec(_START + "w:n", "list", None, "ids waiting, normal priority; gone when empty"),
    KeySpec(_START + "w:l", "list", None, "ids waiting, low priority; gone when empty"),
    KeySpec(_START + "wake", "list", None, "0 or 1 token that wakes an idle worker"),
    KeySpec(_START + "a:<worker>", "list", None, "ids a worker holds; gone when it is reaped"),
    KeySpec(
        _START + "workers", "zset", None, "worker -> end of its lease, ms; the dead are removed"
    ),
    KeySpec(_START + "jobs", "hash", None, "id -> envelope, as long as the job is not finished"),
    KeySpec(_START + "delayed", "zset", None, "id -> when it is due, ms; gone when empty"),
    KeySpec(_START + "crash", "hash", None, "id -> workers that died of it, until it is finished"),
    KeySpec(_START + "dead", "zset", None, "id -> when it died, ms; at most 10 000 and 7 days"),
    KeySpec(_START + "deadx", "hash", None, "id -> why it is dead; as long as in dead"),
    KeySpec(_START + "r:<id>", "string", "REDIS_QUEUE_RESULT_TTL", "a job's progress and result"),
    KeySpec(_START + "meta", "hash", None, "schema, paused: two fields"),
    KeySpec(_START + "stats", "hash", None, "counters: a handful of fields"),
    KeySpec("frk:{<ns>:all}:queue:queues", "set", None, "names of the queues"),
)


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one queue."""

    queue: str
    start: str
    high: str
    normal: str
    low: str
    wake: str
    workers: str
    jobs: str
    delayed: str
    crash: str
    dead: str
    deadx: str
    meta: str
    stats: str

    @property
    def waiting(self) -> tuple[str, str, str]:
        """The lists of waiting jobs, the highest priority first."""
        return self.high, self.normal, self.low

    def active(self, worker: str) -> str:
        """The list of jobs that a worker holds."""
        return f"{self.start}:a:{worker}"

    def record(self, job_id: str) -> str:
        """The progress and result of a job."""
        return f"{self.start}:r:{job_id}"


def keys_of(keys: KeyBuilder, queue: str) -> QueueKeys:
    """The keys of the queue with this name."""

    def key(kind: str, name: str | None = None) -> str:
        return keys.key(queue, "queue", kind, name)

    return QueueKeys(
        queue=queue,
        start=key("w").removesuffix(":w"),
        high=key("w", "h"),
        normal=key("w", "n"),
        low=key("w", "l"),
        **{kind: key(kind) for kind in (
            "wake", "workers", "jobs", "delayed", "crash", "dead", "deadx", "meta", "stats",
        )},
    )  # fmt: skip


def names_key(keys: KeyBuilder) -> str:
    """The set of all queues' names."""
    return keys.key("all", "queue", "queues")


def checked_queue(name: object) -> str:
    """The name, if a queue can have it; else ``TaskError``."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise TaskError(
            f"queue={name!r} is no name for a queue: use 1 to 64 letters, digits, '_', '.' or '-'."
        )
    return name


def new_id(queue: str) -> str:
    """A new job id: ``<queue>.<uuid>``."""
    return f"{queue}.{uuid4().hex}"


def queue_of(job_id: str) -> str | None:
    """The queue that a job id belongs to; None if this can't be a job id."""
    queue, _, unique = job_id.rpartition(".")
    return queue if _HEX.match(unique) and _NAME.match(queue) else None
