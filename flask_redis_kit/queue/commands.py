"""``flask redis worker`` and ``flask redis queue``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import click
from flask import Flask, current_app

from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context
from flask_redis_kit.queue.config import MAX_THREADS, QueueConfig
from flask_redis_kit.queue.engine import QueueEngine
from flask_redis_kit.queue.errors import TaskError
from flask_redis_kit.queue.worker import Worker

log = logging.getLogger("flask_redis_kit.queue")


class Queue(Protocol):
    """The part of the feature that the commands use."""

    def engine(self) -> QueueEngine: ...
    def context(self) -> Context[QueueConfig]: ...
    def warnings(self, context: Context[QueueConfig]) -> Any: ...


def queue_commands(feature: Queue) -> Sequence[click.Command]:
    """The commands of one kit's queue."""

    @click.command("worker")
    @click.option(
        "-q",
        "--queue",
        "queues",
        multiple=True,
        default=("default",),
        show_default=True,
        help="A queue to work on; several times for several queues, served in turn.",
    )
    @click.option(
        "--threads",
        type=click.IntRange(1, MAX_THREADS),
        help="Jobs at a time. [default: REDIS_QUEUE_THREADS]",
    )
    @click.option("--burst", is_flag=True, help="End when nothing is waiting.")
    def worker(queues: tuple[str, ...], threads: int | None, burst: bool) -> None:
        """Run jobs until stopped: SIGTERM or Ctrl-C once to finish, twice to give up at once."""
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # a proxy
        engine = feature.engine()
        if not engine.config.enabled:
            raise click.ClickException("The queue is switched off: REDIS_QUEUE_ENABLED is false.")
        _log_to_stderr()
        _warn(feature)
        try:
            process = Worker(engine, app.app_context, queues, threads=threads, burst=burst)
        except TaskError as error:
            raise click.BadParameter(str(error), param_hint="--queue") from error
        with stopped_by_signals(process):
            abandoned = process.run()
        if abandoned:
            # their threads can't be ended, and the interpreter would wait for what they hold
            logging.shutdown()
            sys.stdout.flush()
            os._exit(0)

    @click.group("queue")
    def queue() -> None:
        """Look at the queues."""

    @queue.command("stats")
    def stats() -> None:
        """Show each queue: jobs waiting by priority, delayed, running, dead; workers."""
        heads = ("queue", "high", "normal", "low", "delayed", "running", "dead", "workers")
        try:
            found = feature.engine().stats()
        except FAILURES as error:
            raise click.ClickException(str(error)) from error
        rows = [heads, *([str(figure) for figure in each[: len(heads)]] for each in found)]
        widths = [max(len(row[n]) for row in rows) for n in range(len(heads))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())

    return [worker, queue]


def _warn(feature: Queue) -> None:
    try:
        for warning in feature.warnings(feature.context()):
            log.warning(warning)
    except FAILURES as error:
        log.warning("The server could not be checked: %s", error)


def _log_to_stderr() -> None:
    """Show what the worker does, unless the application has set up logging itself."""
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


@contextmanager
def stopped_by_signals(worker: Worker) -> Iterator[None]:
    """SIGTERM and SIGINT stop the worker; the third one ends the process.

    Python runs a handler between two steps of the program, so a signal that arrives just before
    the worker waits would be handled after the wait: the wakeup descriptor ends the wait itself.
    """
    received = 0

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 2:
            os._exit(1)
        worker.stop()

    wakeup = signal.set_wakeup_fd(worker.wakeup_fd, warn_on_full_buffer=False)
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
