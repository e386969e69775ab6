"""The scripts against a model: whatever workers do in whatever order, no job is lost."""

from __future__ import annotations

from typing import Any, cast

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.exchange import pairs
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.queue import scripts
from flask_redis_kit.queue.envelope import Body, read_header, seal
from flask_redis_kit.queue.layout import QueueKeys
from tests.core.connecting import wire_to
from tests.harness.servers import Server
from tests.queue.conftest import fields, listed, make_due, members

WORKERS = ("w1", "w2", "w3")
MAX_CRASHES = 1
NOW, LATER = 0, 3_600_000


class QueueMachine(RuleBasedStateMachine):
    """Jobs and workers; ``believed`` is what a worker thinks it holds, right or wrong."""

    def __init__(self, wire: Wire, keys: QueueKeys, client: redis.Redis) -> None:
        super().__init__()
        client.flushall()
        self.wire, self.keys, self.client = wire, keys, client
        self.count = 0
        self.priority: dict[str, str] = {}
        self.waiting: dict[str, list[str]] = {"h": [], "n": [], "l": []}
        self.active: dict[str, list[str]] = {worker: [] for worker in WORKERS}
        self.believed: dict[str, dict[str, bytes]] = {worker: {} for worker in WORKERS}
        self.registered: set[str] = set()
        self.delayed: set[str] = set()
        self.dead: set[str] = set()
        self.done: set[str] = set()
        self.crashes: dict[str, int] = {}
        self.token_lost = False

    # producers

    @rule(
        priority=st.sampled_from("hnl"),
        count=st.integers(1, 3),
        later=st.booleans(),
        twice=st.booleans(),
    )
    def enqueue(self, priority: str, count: int, later: bool, twice: bool) -> None:
        jobs = []
        for _ in range(count):
            self.count += 1
            name = f"{self.count:04}"
            jobs.append((name, seal(Codec(), priority, Body("task", {}, None))))
            self.priority[name] = priority
        exchange = scripts.enqueue(self.keys, jobs, delay_ms=LATER if later else NOW)
        assert self.wire.send(exchange) == count
        if twice:
            assert self.wire.send(exchange) == 0
        names = [name for name, _ in jobs]
        if later:
            self.delayed.update(names)
        else:
            self.waiting[priority] += names

    @rule()
    def time_passes(self) -> None:
        """All that is delayed becomes due; the next step moves it."""
        make_due(self.client, self.keys)
        if self.delayed:
            self._step("w1", 0, ())

    # workers

    @rule(worker=st.sampled_from(WORKERS), want=st.integers(0, 4))
    def wake(self, worker: str, want: int) -> None:
        """An idle worker takes the token."""
        self.client.lpop(self.keys.wake)
        self._step(worker, want, ())
        self.token_lost = worker not in self.registered

    @precondition(lambda self: self._late())
    @rule(data=st.data())
    def succeed_late(self, data: st.DataObject) -> None:
        """A worker finishes a job that was taken from it, wherever that is by now."""
        worker, name = data.draw(st.sampled_from(self._late()))
        self._step(worker, 0, (name,))

    def _late(self) -> list[tuple[str, str]]:
        return [
            (worker, name)
            for worker in WORKERS
            for name in sorted(self.believed[worker])
            if name not in self.active[worker] and name not in self.done
        ]

    @rule(worker=st.sampled_from(WORKERS), want=st.integers(0, 4), data=st.data())
    def step(self, worker: str, want: int, data: st.DataObject) -> None:
        believed = sorted(self.believed[worker])
        done = data.draw(
            st.lists(st.sampled_from(believed), unique=True) if believed else st.just([])
        )
        again = data.draw(st.booleans())  # an acknowledgement whose reply was lost is sent again
        self._step(worker, want, done)
        if again:
            self._step(worker, 0, done)

    def _step(self, worker: str, want: int, done: Any) -> None:
        joining = worker not in self.registered and not self.believed[worker]
        found = self.wire.send(
            scripts.step(
                self.keys, worker, lease_ms=LATER, want=want, done=tuple(done), joining=joining
            )
        )
        for name in done:
            self._finished(worker, name)
        assert found.registered is (joining or worker in self.registered)
        if not found.registered:
            self.believed[worker].clear()  # a new worker from here on
            return
        self.registered.add(worker)
        self.token_lost = False
        for name in self._due():
            self.waiting[self.priority[name]].append(name)
        expected: list[str] = []
        for priority in "hnl":
            while self.waiting[priority] and len(expected) < want:
                expected.append(self.waiting[priority].pop(0))
        assert [job.id for job in found.fetched] == expected
        for job in found.fetched:
            assert job.crashes == self.crashes.get(job.id, 0)
            self.believed[worker][job.id] = job.envelope
        self.active[worker] += expected
        assert found.held == len(self.client.lrange(self.keys.active(worker), 0, -1))

    def _due(self) -> list[str]:
        """What a step has just moved from delayed to waiting."""
        left = set(members(self.client, self.keys.delayed))
        moved, self.delayed = sorted(self.delayed - left), self.delayed & left
        return moved

    def _finished(self, worker: str, name: str) -> None:
        self.believed[worker].pop(name, None)
        for places in (*self.waiting.values(), *self.active.values()):
            if name in places:
                places.remove(name)
        self.delayed.discard(name)
        self.dead.discard(name)
        self.crashes.pop(name, None)
        self.done.add(name)

    @precondition(lambda self: any(self.believed.values()))
    @rule(data=st.data(), settle=st.sampled_from(["retry", "dead"]), twice=st.booleans())
    def settle(self, data: st.DataObject, settle: str, twice: bool) -> None:
        worker = data.draw(st.sampled_from([w for w in WORKERS if self.believed[w]]))
        name = data.draw(st.sampled_from(sorted(self.believed[worker])))
        envelope = self.believed[worker].pop(name)
        if settle == "retry":
            again = read_header(envelope).pack(failures=1)
            exchange = scripts.retry(self.keys, worker, name, again, delay_ms=LATER)
        else:
            exchange = scripts.dead(self.keys, worker, name, b"why")
        owned = name in self.active[worker]
        assert self.wire.send(exchange) is owned
        if owned:
            self.active[worker].remove(name)
            if settle == "retry":
                self.delayed.add(name)
            else:
                self.dead.add(name)
                self.crashes.pop(name, None)
        if twice:
            assert self.wire.send(exchange) is False

    @rule(worker=st.sampled_from(WORKERS), leaving=st.booleans(), data=st.data())
    def release(self, worker: str, leaving: bool, data: st.DataObject) -> None:
        believed = sorted(self.believed[worker])
        keep = [] if leaving or not believed else data.draw(st.lists(st.sampled_from(believed)))
        self.wire.send(scripts.release(self.keys, worker, keep=keep, leaving=leaving))
        back = [name for name in self.active[worker] if name not in keep]
        for name in reversed(back):
            self.waiting[self.priority[name]].insert(0, name)
            self.active[worker].remove(name)
        for name in set(self.believed[worker]) - set(keep):
            del self.believed[worker][name]
        if leaving:
            self.registered.discard(worker)

    @rule(worker=st.sampled_from(WORKERS), expired=st.booleans())
    def reap(self, worker: str, expired: bool) -> None:
        if expired and worker in self.registered:
            self.client.zadd(self.keys.workers, {worker: 1})
        result = self.wire.send(
            scripts.reap(self.keys, worker, max_crashes=MAX_CRASHES, told=b"poison")
        )
        if not expired or worker not in self.registered:
            assert result == (0, 0, 0)
            return
        self.registered.discard(worker)
        for name in reversed(self.active[worker]):
            self.crashes[name] = self.crashes.get(name, 0) + 1
            if self.crashes[name] > MAX_CRASHES:
                self.dead.add(name)
                del self.crashes[name]
            else:
                self.waiting[self.priority[name]].insert(0, name)
        self.active[worker].clear()  # though the worker still believes to hold them

    # what must be true at any moment

    @invariant()
    def every_job_is_in_exactly_the_place_it_should_be(self) -> None:
        exists = fields(self.client, self.keys.jobs)
        assert exists == set(self.priority) - self.done

        def unfinished(key: str) -> list[str]:
            return [name for name in listed(self.client, key) if name in exists]

        for priority, key in zip("hnl", self.keys.waiting, strict=True):
            assert unfinished(key) == self.waiting[priority]
        for worker in WORKERS:
            assert unfinished(self.keys.active(worker)) == self.active[worker]
        for key, names in ((self.keys.delayed, self.delayed), (self.keys.dead, self.dead)):
            assert set(members(self.client, key)) == names
        assert fields(self.client, self.keys.deadx) == self.dead
        crashes = pairs(self.client.hgetall(self.keys.crash))
        assert {name.decode(): int(n) for name, n in crashes.items()} == self.crashes

    @invariant()
    def a_token_is_there_when_jobs_are_waiting(self) -> None:
        tokens = self.client.llen(self.keys.wake)
        assert tokens <= 1
        # unless it was taken by one who then learnt that it was reaped, and begins anew at once
        assert tokens == 1 or self.token_lost or not any(self.waiting.values())


def test_no_job_is_lost_and_each_is_in_exactly_one_place(
    server: Server, keys: QueueKeys, redis_client: redis.Redis
) -> None:
    with wire_to(server.url) as wire:
        run_state_machine_as_test(
            cast("Any", lambda: QueueMachine(wire, keys, redis_client)),  # a factory will do
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
