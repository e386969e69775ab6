"""Random lives of logs, buckets and leases, against a model that only knows the definition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit.core.wire import Wire
from flask_redis_kit.ratelimit import scripts
from flask_redis_kit.ratelimit.limits import Claim
from flask_redis_kit.ratelimit.scripts import Held, Verdict
from tests.ratelimit.asking import claim
from tests.ratelimit.clocked import Clock, clocked_scripts
from tests.ratelimit.model import Leases, Log

SECOND = 1_000_000
START = 1_790_000_000 * SECOND + 17
WINDOWS = {
    "{log}:exact": 640 * SECOND,
    "{log}:auto": 640 * SECOND,
    "{log}:odd": 77 * SECOND + 7,
}
LEASE = 50 * SECOND
LEASES = "{log}:leases"

pytestmark = pytest.mark.standalone(reason="the clock is a key that the scripts don't declare")


@dataclass
class Life:
    """The server's logs, and the model of them."""

    wire: Wire
    client: redis.Redis
    clock: Clock
    logs: dict[str, Log]
    leases: Leases
    held: dict[str, list[Held]]

    def claims(self, asked: list[tuple[str, int, int, bool]]) -> list[Claim]:
        made = {}
        for key, limit, cost, shadow in asked:
            auto = "sliding-log" if key == "{log}:exact" else "auto"
            made[key] = claim(key, limit, WINDOWS[key], cost, algorithm=auto, shadow=shadow)
        return list(made.values())

    def acquire(self, asked: list[tuple[str, int, int, bool]], places: int) -> None:
        claims = self.claims(asked)
        if places:
            claims.append(claim(LEASES, places, LEASE, kind="concurrency"))
        token = scripts.new_token()
        now = self.clock.now
        verdict = self.wire.send(scripts.acquire(claims, token))
        self._check(claims, verdict)
        fitting = [
            (each, standing)
            for each, standing in zip(claims, verdict.standings, strict=True)
            if verdict.admitted and each.cost and standing.retry_us == 0
        ]
        for each, _ in fitting:
            if each.key == LEASES:
                self.leases.admit(token, now)
            else:
                self.logs[each.key].admit(token, each.cost, now)
        self.held[token] = [Held(each, now + s.full_us, s.born) for each, s in fitting]
        for each, standing in zip(claims, verdict.standings, strict=True):
            self._check_standing(each, standing.remaining)

    def peek(self, asked: list[tuple[str, int, int, bool]]) -> None:
        before = self._dump()
        claims = self.claims(asked)
        verdict = self.wire.send(scripts.peek(claims))
        self._check(claims, verdict)
        assert self._dump() == before

    def _check(self, claims: list[Claim], verdict: Verdict) -> None:
        """The verdict is the model's, and the retry time is right to the microsecond."""
        now = self.clock.now
        vetoes = []
        for each, standing in zip(claims, verdict.standings, strict=True):
            least, most = self._used(each, now)
            cost = max(each.cost, 1)
            if standing.retry_us == 0:
                assert least + cost <= each.limit.limit
            else:
                assert most + cost > each.limit.limit
                vetoes.append(each.cost > 0 and not each.limit.shadow)
        assert verdict.admitted == (not any(vetoes))
        if not verdict.admitted:
            self._check_retry(claims, verdict)

    def _check_retry(self, claims: list[Claim], verdict: Verdict) -> None:
        now = self.clock.now
        waits = [
            s.retry_us
            for each, s in zip(claims, verdict.standings, strict=True)
            if each.cost and not each.limit.shadow and s.retry_us
        ]
        if min(waits) < 0:
            return
        try:
            self.clock.set(now + max(waits) - 1)
            assert not self.wire.send(scripts.peek(claims)).admitted
            self.clock.set(now + max(waits))
            assert self.wire.send(scripts.peek(claims)).admitted
        finally:
            self.clock.set(now)

    def _used(self, each: Claim, now: int) -> tuple[int, int]:
        if each.key == LEASES:
            return (self.leases.held(now),) * 2
        log = self.logs[each.key]
        return log.fewest(now), log.most(now)

    def _check_standing(self, each: Claim, remaining: int) -> None:
        least, most = self._used(each, self.clock.now)
        limit = each.limit.limit
        assert max(0, limit - most) <= remaining <= max(0, limit - least)

    def hand_back(self, number: int) -> None:
        if not self.held:
            return
        token = list(self.held)[number % len(self.held)]
        held = self.held[token]
        if not held:
            return
        exchange = scripts.hand_back(held, token)
        units = self.wire.send(exchange)
        if exchange.idempotent:
            assert self.wire.send(exchange) == [0] * len(held)
        del self.held[token]
        self.leases.ends.pop(token, None)
        for each, removed in zip(held, units, strict=True):
            made_of_a_log = not each.born and self.client.type(each.claim.key) == b"hash"
            log = self.logs.get(each.claim.key)
            if log is not None and not made_of_a_log:
                log.hand_back(token)
            assert removed in ((0,) if made_of_a_log else (0, each.claim.cost))

    def renew(self, number: int) -> None:
        if not self.leases.ends:
            return
        token = list(self.leases.ends)[number % len(self.leases.ends)]
        now = self.clock.now
        lasts = self.leases.ends[token] > now
        lease = claim(LEASES, 1, LEASE, kind="concurrency")
        assert self.wire.send(scripts.renew(lease, token)) == lasts
        if lasts:
            self.leases.ends[token] = max(self.leases.ends[token], now + LEASE)

    def reset(self, number: int) -> None:
        key = list(self.logs)[number % len(self.logs)]
        self.wire.send(scripts.clear(key))
        self.logs[key].admissions.clear()
        self.clock.set(self.clock.now + 1)  # nothing a server does takes less

    def move(self, micros: int) -> None:
        """Let time pass; backwards never so far that a log would be given up as broken."""
        times = [a.high for log in self.logs.values() for a in log.admissions]
        times += [end - LEASE for end in self.leases.ends.values()]
        least = max(times, default=0) - min([*WINDOWS.values(), LEASE]) // 2
        self.clock.set(max(self.clock.now + micros, least))

    def move_to_an_edge(self, number: int, late: int, micros: int) -> None:
        """To the moment when the units of some admission free, or right beside it."""
        edges = [
            a.high + log.window + late * log.late
            for log in self.logs.values()
            for a in log.admissions
        ]
        edges += self.leases.ends.values()
        if edges:
            self.move(edges[number % len(edges)] + micros - self.clock.now)

    def _dump(self) -> dict[str, bytes | None]:
        keys = [*self.logs, LEASES]
        return {key: self.client.dump(key) for key in keys}


keys = st.sampled_from(list(WINDOWS))
limits = st.sampled_from([1, 3, 128, 129, 131, 200])
costs = st.sampled_from([0, 1, 1, 2, 64, 127])
asked = st.lists(
    st.tuples(keys, limits, costs, st.sampled_from([False, False, False, True])),
    min_size=1,
    max_size=3,
)
moves = st.one_of(
    st.integers(-40 * SECOND, 0),
    st.integers(0, 2 * SECOND),
    st.integers(0, 100 * SECOND),
    st.sampled_from([10 * SECOND, 640 * SECOND, 650 * SECOND, 77 * SECOND + 7, 1_203_126]),
)
steps = st.one_of(
    st.tuples(st.just("acquire"), asked, st.sampled_from([0, 0, 1, 3])),
    st.tuples(st.just("acquire"), asked, st.just(0)),
    st.tuples(st.just("move"), moves),
    st.tuples(
        st.just("move_to_an_edge"),
        st.integers(0, 20),
        st.sampled_from([0, 0, 1]),
        st.sampled_from([-1, 0, 0, 1]),
    ),
    st.tuples(st.just("peek"), asked),
    st.tuples(st.just("hand_back"), st.integers(0, 20)),
    st.tuples(st.just("renew"), st.integers(0, 20)),
    st.tuples(st.just("reset"), st.integers(0, 20)),
)


@pytest.fixture
def clocked() -> Iterator[None]:
    with clocked_scripts():
        yield


def live(wire: Wire, client: redis.Redis, steps: Iterable[tuple[Any, ...]]) -> Life:
    """One life from an empty server on."""
    client.flushall()
    life = Life(
        wire,
        client,
        Clock(client, START),
        {key: Log(window, auto=key != "{log}:exact") for key, window in WINDOWS.items()},
        Leases(LEASE),
        {},
    )
    for name, *arguments in steps:
        action: Callable[..., None] = getattr(life, name)
        action(*arguments)
    return life


@settings(max_examples=200)
@given(steps=st.lists(steps, min_size=1, max_size=40))
def test_random_lives_are_the_model_s(
    wire: Wire, redis_client: redis.Redis, clocked: None, steps: list[tuple[Any, ...]]
) -> None:
    live(wire, redis_client, steps)


def random_steps(random: Random, count: int) -> Iterator[tuple[Any, ...]]:
    """Steps that keep logs about full, and moments close to the edges."""
    limits, costs = [1, 3, 128, 129, 131, 200], [0, 1, 1, 2, 3, 64, 127]
    plan = [random.choice(limits) for _ in WINDOWS]  # mostly the same limit, as in life
    for _ in range(count):
        asked = [
            (
                key,
                random.choice(limits) if random.random() < 0.1 else limit,
                random.choice(costs),
                random.random() < 0.1,
            )
            for key, limit in zip(WINDOWS, plan, strict=True)
            if random.random() < 0.6
        ] or [("{log}:auto", plan[1], 1, False)]
        yield random.choices(
            [
                ("acquire", asked, random.choice([0, 0, 1, 3])),
                ("move", random.choice([-1, 1]) * random.randrange(20 * SECOND)),
                ("move", random.randrange(100 * SECOND)),
                ("move_to_an_edge", random.randrange(99), random.choice([0, 1]), -1),
                ("move_to_an_edge", random.randrange(99), random.choice([0, 1]), 0),
                ("peek", asked),
                ("hand_back", random.randrange(99)),
                ("renew", random.randrange(99)),
                ("reset", random.randrange(99)),
            ],
            [8, 2, 1, 1, 2, 1, 1, 0.5, 0.1],
        )[0]


@pytest.mark.parametrize("seed", range(4))
def test_long_lives_are_the_model_s(
    wire: Wire, redis_client: redis.Redis, clocked: None, seed: int
) -> None:
    for number in range(12):
        live(wire, redis_client, random_steps(Random(100 * seed + number), 150))


@pytest.mark.parametrize(("algorithm", "limit"), [("sliding-log", 1), ("auto", 1)])
def test_a_unit_counts_for_the_window_to_the_microsecond(
    wire: Wire, redis_client: redis.Redis, clocked: None, algorithm: str, limit: int
) -> None:
    clock, window = Clock(redis_client, START), 60 * SECOND
    asked = claim("{log}:0", limit, window, algorithm=algorithm)
    for _ in range(3):
        assert wire.send(scripts.acquire([asked], scripts.new_token())).admitted
        clock.set(clock.now + window - 1)
        refused = wire.send(scripts.acquire([asked], scripts.new_token()))
        assert (refused.admitted, refused.standings[0].retry_us) == (False, 1)
        clock.set(clock.now + 1)
        assert wire.send(scripts.peek([asked])).standings[0].remaining == 1
