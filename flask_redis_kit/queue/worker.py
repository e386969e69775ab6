"""A worker: one thread that talks to the server, and threads that run jobs.

The talking thread is the one that calls ``Worker.run``. A turn tells what was finished and fetches
for the threads that are free, in one trip for all queues; with nothing to do it parks on the wake
tokens. User code can't block it, so the lease is kept however long a job takes.
"""

from __future__ import annotations

import logging
import random
import select
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from flask_redis_kit.core.errors import ReplyTimeout
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.queue.consumer import Consumer
from flask_redis_kit.queue.engine import QueueEngine
from flask_redis_kit.queue.line import Lines
from flask_redis_kit.queue.parking import Parking, parkings
from flask_redis_kit.queue.runner import HeldJob, Outcome, Runner
from flask_redis_kit.queue.threads import JobThreads, Waker

log = logging.getLogger("flask_redis_kit.queue")

BLOCK = 4.0
"""Longest park (s): what a lost wake token can cost."""
REPLY = 5.0
LONGEST_PAUSE = 5.0


class Worker:
    """Runs jobs of some queues of one application, ``threads`` at a time.

    ``enter``  opens the application's context around each job.
    ``burst``  end when nothing is waiting, instead of waiting for more.
    """

    def __init__(
        self,
        engine: QueueEngine,
        enter: Callable[[], AbstractContextManager[object]],
        queues: Sequence[str],
        *,
        threads: int | None = None,
        burst: bool = False,
    ) -> None:
        self._engine = engine
        self._burst = burst
        self._threads_count = threads or engine.config.threads
        self._waker = Waker()
        runner = Runner(engine, enter)
        self._threads: JobThreads[tuple[Consumer, HeldJob], Outcome] = JobThreads(
            self._threads_count, lambda item: runner.run(item[1]), self._waker
        )
        self._consumers = [
            Consumer(
                engine.keys(queue), lease=engine.config.lease, max_crashes=engine.config.max_crashes
            )
            for queue in dict.fromkeys(queues)
        ]
        lines = Lines(engine.context.wire.connector, REPLY)
        self._line = lines.quick
        self._parks = parkings(lines, self._consumers, longest=BLOCK, reply=REPLY)
        self._last_fed: Consumer | None = None
        self._running = 0
        self._failures = 0
        self._now_ms = 0
        self._stops = 0
        self._stop_at: float | None = None
        self._signed_down = False

    @property
    def wakeup_fd(self) -> int:
        """For ``signal.set_wakeup_fd``: a signal that comes right before a wait must end it."""
        return self._waker.writer

    def stop(self) -> None:
        """Begin nothing new and give running jobs ``grace`` seconds; at the second call, none.

        May be called from any thread or signal handler.
        """
        self._stops += 1
        self._waker.set()

    def run(self) -> int:
        """Work until stopped (or, in a burst, until nothing is waiting). Returns how many jobs
        were still running at the end: they were given back and run again elsewhere.
        """
        self._threads.start()
        log.info(
            "Worker started: queues %s, %d threads, server %s.",
            ", ".join(consumer.keys.queue for consumer in self._consumers),
            self._threads_count, self._engine.context.wire.connector.address,
        )  # fmt: skip
        try:
            while not self._over():
                try:
                    self._turn()
                    self._failures = 0
                except FAILURES as error:
                    self._broken(error)
            self._leave()
        finally:
            for park in self._parks:
                park.close()
            self._line.close()
            self._threads.stop()
            if not self._running:
                self._threads.join(timeout=5)
        log.info("Worker stopped; %d jobs given back.", self._running)
        return self._running

    # one turn

    def _turn(self) -> None:
        self._waker.clear()
        self._collect()
        now = time.monotonic()
        if self._stops and self._stop_at is None:
            log.info("Stopping: waiting up to %g s for running jobs.", self._engine.config.grace)
            self._stop_at = now + self._engine.config.grace  # whether the server is there or not
        self._step_all(now)
        if self._stops and not self._signed_down:
            self._sign_down()  # after the step: what is finished must not be given back
        for consumer in self._consumers:
            self._look_after(consumer)
        for park in self._parks:
            if self._can_park(park):
                park.enter(self._free() if len(self._parks) == 1 else 0)
        self._wait()

    def _collect(self) -> None:
        for (consumer, job), outcome in self._threads.done():
            self._running -= 1
            consumer.finished(job, outcome)

    def _step_all(self, now: float) -> None:
        """One trip: news and heartbeats of every queue; one of them fetches."""
        budget = self._free()
        asked: list[tuple[Consumer, int, int]] = []
        exchanges: list[Exchange[object]] = []
        for consumer in self._rotation():
            if consumer.due_at is not None and consumer.due_at <= now:
                consumer.hungry = True
            want = budget if consumer.hungry else 0
            if want or consumer.has_news or consumer.due(now):
                budget -= want
                exchanges += consumer.exchanges(want)
                asked.append((consumer, want, len(exchanges) - 1))
        if not asked:
            return
        values = self._line.ask(exchanges)
        now = time.monotonic()
        for consumer, want, position in asked:
            consumer.told()
            step = values[position]
            self._now_ms = step.now_ms
            park = next((park for park in self._parks if park.holds(consumer)), None)
            self._start(consumer, consumer.took(step, want, now, parked=park is not None))
            if park is not None and not step.registered:
                park.drop()
            if step.fetched:
                self._last_fed = consumer

    def _look_after(self, consumer: Consumer) -> None:
        """Compare lists after a lost reply; take back the jobs of workers that are gone."""
        if consumer.doubtful and consumer.joined and not self._stops:
            found = self._line.ask([consumer.reconciling()])[0]
            self._start(consumer, consumer.reconciled(found, self._now_ms))
        while (reaping := consumer.reaping(time.monotonic())) is not None:
            consumer.reaped(self._line.ask([reaping])[0])

    # parking

    def _drop_parks(self) -> None:
        for park in self._parks:
            park.drop()

    def _can_park(self, park: Parking) -> bool:
        return not self._burst and not self._stops and park.ready and self._free() > 0

    def _leave_park(self, park: Parking) -> None:
        woken = park.leave(self._line)
        new = woken.consumer.took(woken.step, woken.want, time.monotonic())
        self._start(woken.consumer, new)

    def _wait(self) -> None:
        """Sleep until a job is finished, the park is over, or something is due."""
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        for park in self._parks:
            if park.occupied:
                poll.register(park, select.POLLIN | select.POLLHUP | select.POLLERR)
        ready = {descriptor for descriptor, _ in poll.poll(self._patience() * 1000)}
        for park in self._parks:
            if not park.occupied:
                continue
            if park.fileno() in ready:
                self._leave_park(park)
            elif time.monotonic() > park.ends:
                raise ReplyTimeout("The server did not end a blocking command in time.")

    def _patience(self) -> float:
        now = time.monotonic()
        if self._over() or (self._stops and not self._signed_down):
            return 0.0
        free = self._free() > 0
        times = [consumer.beat_at for consumer in self._consumers]
        times += [park.ends for park in self._parks if park.occupied or park.ends > now]
        if self._stop_at is not None:
            times.append(self._stop_at)
        for consumer in self._consumers:
            if free and (consumer.hungry or not consumer.joined):
                return 0.0
        return max(0.0, min(times) - now)

    # the rest of a worker's life

    def _free(self) -> int:
        """Threads that nothing was fetched for, not even by the step that is parked."""
        if self._stops:
            return 0
        return self._threads_count - self._running - sum(park.want for park in self._parks)

    def _rotation(self) -> list[Consumer]:
        """The queues, the one after that which was fed last first: none starves."""
        start = (self._consumers.index(self._last_fed) + 1) if self._last_fed else 0
        return self._consumers[start:] + self._consumers[:start]

    def _start(self, consumer: Consumer, jobs: Sequence[HeldJob]) -> None:
        for job in jobs:
            self._running += 1
            self._threads.put((consumer, job))

    def _over(self) -> bool:
        if self._stops:
            if self._running == 0 or self._stops > 1:
                return True
            return self._stop_at is not None and time.monotonic() >= self._stop_at
        return (
            self._burst
            and self._running == 0
            and not any(
                consumer.hungry or consumer.has_news or not consumer.joined
                for consumer in self._consumers
            )
        )

    def _sign_down(self) -> None:
        """The first turn after ``stop()``: nothing is fetched any more, nothing new is begun."""
        self._drop_parks()
        unstarted = self._withdraw()
        for consumer in self._consumers:
            mine = [job for owner, job in unstarted if owner is consumer]
            self._line.ask([consumer.releasing(mine)])
        self._signed_down = True

    def _withdraw(self) -> list[tuple[Consumer, HeldJob]]:
        unstarted = self._threads.withdraw()
        self._running -= len(unstarted)
        return unstarted

    def _leave(self) -> None:
        """Tell what is left to tell, give the rest back, sign off; again if that fails."""
        self._drop_parks()
        self._withdraw()
        self._collect()
        for _ in range(2):
            try:
                for consumer in self._consumers:
                    self._line.ask(consumer.leaving())
            except FAILURES as error:
                log.warning("Could not sign off (%s).", error)
            else:
                return

    def _broken(self, error: Exception) -> None:
        """Drop the connections, wait a little longer each time, and begin again by comparing."""
        self._failures += 1
        self._line.drop()
        self._drop_parks()
        now = time.monotonic()
        for consumer in self._consumers:
            consumer.broken(now)
        try:
            with self._engine.damage(self._parks[0].lead.keys.queue):
                raise error
        except FAILURES as named:
            error = named
        if self._failures > 1 and self._failures & (self._failures - 1) == 0:
            log.error("The queue's server fails (%d times now): %s", self._failures, error)
        elif self._failures == 1:
            log.warning("Connecting again: %s", error)
        self._pause(min(LONGEST_PAUSE, 0.02 * 2.0 ** min(self._failures - 1, 10)))

    def _pause(self, seconds: float) -> None:
        """Wait; once stopped only shortly, to see what has finished and whether time is up."""
        until = time.monotonic() + seconds * random.uniform(0.5, 1.0)  # noqa: S311
        stops = self._stops
        while self._stops == stops and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            if stops:
                return
