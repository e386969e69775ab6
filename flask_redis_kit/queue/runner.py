"""Runs one job in the application's context, and decides what becomes of it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from flask_redis_kit.core import signals
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.queue import job as jobs
from flask_redis_kit.queue.engine import QueueEngine
from flask_redis_kit.queue.envelope import VERSION, Body, Header, read_body, read_header
from flask_redis_kit.queue.record import Record
from flask_redis_kit.queue.task import Task

log = logging.getLogger("flask_redis_kit.queue")

LONGEST_BACKOFF = 3600.0
UNKNOWN_MS = 3600 * 1000
"""How long a job whose task nobody knows is held back: a rolling deploy may bring it."""
REASON_BYTES = 4096


@dataclass(slots=True)
class HeldJob:
    """A job that this worker holds. ``lost``: it was reaped and another worker may have it."""

    id: str
    envelope: bytes
    crashes: int
    fetched_ms: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """It ran, or needs not run: acknowledge it."""


@dataclass(frozen=True, slots=True)
class Again:
    """It has to run again, with this envelope and after this delay."""

    envelope: bytes
    delay_ms: int
    counter: Literal["retried", "unknown"]


@dataclass(frozen=True, slots=True)
class Buried:
    """It is dead; why."""

    reason: bytes


Outcome = Done | Again | Buried


class Runner:
    """Runs jobs of one application. ``enter`` opens its context. Thread-safe."""

    def __init__(
        self, engine: QueueEngine, enter: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._engine = engine
        self._enter = enter

    def run(self, held: HeldJob) -> Outcome:
        """Run a job. Never raises."""
        try:
            header = read_header(held.envelope)
            if header.version > VERSION:
                return self._hold(held, header, f"envelope version {header.version}")
            body = read_body(self._engine.context.codec, header)
        except CodecError as error:
            log.error("Job %s can't be read and is dead: %s", held.id, error)
            return Buried(b"corrupt: " + _tail(str(error)))
        task = self._engine.tasks.named(body.task)
        if task is None:
            return self._hold(held, header, f"task {body.task!r}")
        attempt = header.failures + held.crashes + 1
        return self._call(_Call(self._engine, held, header, body, task, attempt))

    def _call(self, call: _Call) -> Outcome:
        try:
            with self._enter():
                call.tell("started", 0.0)
                call.finish(call.function())
        except BaseException as error:  # noqa: BLE001  # the worker outlives whatever a job raises
            return self._failed(call, error)
        return Done()

    def _failed(self, call: _Call, error: BaseException) -> Outcome:
        reason = "".join(traceback.format_exception(error))
        failures = call.header.failures + 1
        allowed = call.task.retries
        if allowed is None:
            allowed = self._engine.config.retries
        if failures > allowed:
            log.error("Job %s (%s) failed and is dead.\n%s", call.held.id, call.task.name, reason)
            self._conclude(call, "failed")
            what = traceback.format_exception_only(error)[-1]
            return Buried(_tail(what + reason, reason))
        delay = backoff(self._engine.config.backoff, failures)
        log.warning(
            "Job %s (%s) failed (attempt %d) and runs again in %.1f s.\n%s",
            call.held.id, call.task.name, call.current.attempt, delay, reason,
        )  # fmt: skip
        self._conclude(call, "retrying")
        return Again(call.header.pack(failures=failures), round(delay * 1000), "retried")

    def _conclude(self, call: _Call, state: str) -> None:
        try:
            with self._enter():
                call.conclude(state)
        except BaseException:  # raised by the application's own hooks
            log.exception("The application's context failed for job %s", call.held.id)

    def _hold(self, held: HeldJob, header: Header, what: str) -> Outcome:
        since = header.held_since_ms or held.fetched_ms
        waited = held.fetched_ms - since
        if waited >= UNKNOWN_MS:
            log.error("Job %s is dead: nobody knew its %s for an hour.", held.id, what)
            return Buried(f"unknown {what}: no worker knew it for an hour".encode())
        delay = min(60.0, max(5.0, waited / 4000)) * random.uniform(1.0, 1.2)  # noqa: S311
        log.warning(
            "Job %s is held back for %.0f s: its %s is unknown here. Is the module that defines "
            "it imported, is this worker older than the application?", held.id, delay, what,
        )  # fmt: skip
        envelope = header.pack(held_since_ms=since)
        return Again(envelope, round(delay * 1000), "unknown")


class _Call:
    """One call of one task."""

    def __init__(
        self,
        engine: QueueEngine,
        held: HeldJob,
        header: Header,
        body: Body,
        task: Task,
        attempt: int,
    ) -> None:
        self.engine = engine
        self.held = held
        self.header = header
        self.body = body
        self.task = task
        self.current = jobs.CurrentJob(
            held.id, attempt, body.user, self._progress, lambda: held.lost
        )

    def function(self) -> Any:
        jobs.current.set(self.current)
        result = self.task.function(**self.body.payload)
        if inspect.iscoroutine(result):
            return asyncio.run(result)
        return result

    def finish(self, result: Any) -> None:
        """Keep the result if asked to, then tell."""
        told = self.current.last_progress
        note = told[1] if told else ""
        kept = Record("finished", 1.0, note, result if self.task.keep_result else None)
        if told or self.task.keep_result:
            try:
                self._store(kept)
            except CodecError as error:
                log.error("The result of job %s can't be kept: %s", self.held.id, error)
                self._store(Record("finished", 1.0, note))
        self.tell("finished", 1.0, note)

    def conclude(self, state: str) -> None:
        """It failed: write that down if somebody reads it, then tell."""
        progress, note = self.current.last_progress or (0.0, "")
        if self.current.last_progress or self.task.keep_result:
            self._store(Record(state, progress, note))
        self.tell(state, progress, note)

    def tell(self, state: str, progress: float, note: str = "") -> None:
        """Send the signal; a receiver that raises harms nobody."""
        try:
            signals.job_progress.send(
                self.engine,
                job_id=self.held.id,
                state=state,
                progress=progress,
                note=note,
                user=self.body.user,
            )
        except Exception:
            log.exception("A receiver of job_progress failed for job %s", self.held.id)

    def _progress(self, fraction: float, note: str) -> None:
        self._store(Record("running", fraction, note))
        self.tell("progress", fraction, note)

    def _store(self, kept: Record) -> None:
        try:
            self.engine.store(self.held.id, kept)
        except CodecError:
            raise
        except FAILURES as error:
            log.warning("The progress of job %s can't be written: %s", self.held.id, error)


def backoff(base: float, failures: int) -> float:
    """Seconds before the next attempt: doubling, at most an hour, with jitter of one half."""
    full = min(LONGEST_BACKOFF, base * 2.0 ** min(failures - 1, 40))
    return full * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, keeps no secret


def _tail(text: str, trace: str | None = None) -> bytes:
    """At most 4 KiB: the whole text, or its first line and the end of the traceback."""
    whole = text.encode(errors="replace")
    if len(whole) <= REASON_BYTES:
        return whole
    head = whole.split(b"\n", 1)[0][: REASON_BYTES // 4] + b"\n...\n"
    return head + (trace or text).encode(errors="replace")[-(REASON_BYTES - len(head)) :]
