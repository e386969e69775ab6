"""A job seen from outside (``JobStatus``) and from the function that it runs (``CurrentJob``)."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal

from flask_redis_kit.core.errors import NotInitialized
from flask_redis_kit.queue.errors import LeaseLost

JobState = Literal["waiting", "running", "delayed", "dead", "finished", "unknown"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job is.

    ``state``     "unknown": there is no such job, or it is finished and left no record.
    ``progress``  0 to 1, as the job said last; ``note`` came with it.
    ``result``    what the function returned, if its task has ``keep_result=True``.
    ``reason``    why it is dead: the exception and the end of its traceback.
    """

    id: str
    state: JobState
    progress: float = 0.0
    note: str = ""
    result: Any = None
    reason: str | None = None


class CurrentJob:
    """The job that is running: ``current_job()``.

    ``id``          its id.
    ``attempt``     1 for the first run; failures and crashes count.
    ``user``        whom it was enqueued for, or None.
    ``lease_lost``  True when this worker counted as dead for a while: another one runs it too.
    """

    def __init__(
        self,
        job_id: str,
        attempt: int,
        user: str | int | None,
        report: Callable[[float, str], None],
        lost: Callable[[], bool],
    ) -> None:
        self.id: Final = job_id
        self.attempt: Final = attempt
        self.user: Final = user
        self.last_progress: tuple[float, str] | None = None
        """What ``progress`` was told last."""
        self._report = report
        self._lost = lost

    @property
    def lease_lost(self) -> bool:
        return self._lost()

    def progress(self, fraction: float, note: str = "") -> None:
        """Tell how far the job is: 0 to 1, and a word about it. One round trip.

        ``kit.queue.job(id)`` shows it, and the user the job was enqueued for gets an event. A
        server that can't be reached is logged; the job goes on.
        """
        if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise ValueError(f"progress({fraction!r}): give a number from 0 to 1.")
        if not isinstance(note, str):
            raise TypeError(f"progress(note={note!r}): the note must be a str.")
        self.last_progress = float(fraction), note
        self._report(float(fraction), note)

    def check(self) -> None:
        """For long loops: raises ``LeaseLost`` when there is no point in going on."""
        if self._lost():
            raise LeaseLost(
                f"Job {self.id} was given to another worker: this one gave no sign for longer than "
                "REDIS_QUEUE_LEASE."
            )

    def __repr__(self) -> str:
        return f"CurrentJob({self.id!r}, attempt={self.attempt})"


current: ContextVar[CurrentJob] = ContextVar("flask_redis_kit_job")


def current_job() -> CurrentJob:
    """The job whose function is running here; ``NotInitialized`` outside of one."""
    job = current.get(None)
    if job is None:
        raise NotInitialized("There is no current job. Call this in a task that a worker runs.")
    return job
