"""What is worked out once for who comes again is what would be worked out each time."""

from __future__ import annotations

import math
from typing import get_args

import hiredis
import pytest
import redis
from flask import request
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit.core.script import ScriptCall
from flask_redis_kit.ratelimit import claiming, rate_limit
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.headers import limit_headers
from flask_redis_kit.ratelimit.limits import Algorithm, Claim, Kind, Limit
from flask_redis_kit.ratelimit.petition import Petition
from flask_redis_kit.ratelimit.scripts import Held, Verdict
from tests.ratelimit.conftest import Limited

limits = st.builds(
    Limit,
    limit=st.integers(1, 10**9),
    window_us=st.integers(1000, 10**14),
    name=st.sampled_from(["", "per-minute", 'a "name"', "tür"]),
    algorithm=st.sampled_from(get_args(Algorithm)),
    shadow=st.booleans(),
    kind=st.sampled_from(get_args(Kind)),
)
claims = st.lists(st.tuples(limits, st.integers(0, 3)), min_size=1, max_size=4).map(
    lambda asked: [
        Claim(limit, "0", "home", cost, f"{{0}}:{n}") for n, (limit, cost) in enumerate(asked)
    ]
)
standings = st.tuples(
    st.integers(0, 10**9),
    st.integers(0, 10**14),
    st.integers(0, 10**14),
    st.one_of(st.just(0), st.just(-1), st.integers(1, 10**14)),
    st.just(0),
)


@settings(deadline=None)  # a busy machine
@given(
    claims=claims,
    rows=st.lists(standings, min_size=4, max_size=4),
    dialects=st.sampled_from([("x-delta",), ("x-delta", "draft-10"), ("draft-11",), ("off",)]),
)
def test_headers_of_the_server_s_answer_are_those_of_the_results(
    claims: list[Claim], rows: list[tuple[int, ...]], dialects: tuple[str, ...]
) -> None:
    numbers = [1, 10**15, *(n for row in rows[: len(claims)] for n in row)]
    petition, verdict = Petition(claims), Verdict(numbers)
    decision = Decision(True, petition.claims, verdict=verdict)
    expected = limit_headers(decision.results, dialects)
    assert petition.headers(decision, dialects) == expected
    assert petition.headers(decision.later(0), dialects) == expected
    assert verdict.all_fit == all(result.allowed for result in decision.results)


def test_the_reset_of_the_trio_is_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_redis_kit.ratelimit.headers.time.time", lambda: 1000.0)
    petition = Petition([Claim(Limit(5, 60_000_000), "0", "home", 1, "{0}:a")])
    verdict = Verdict([1, 10**15, 4, 12_000_001, 60_000_000, 0, 0])
    fields = petition.headers(Decision(True, petition.claims, verdict=verdict), ("x",))
    assert dict(fields)["X-RateLimit-Reset"] == "1013"


@settings(deadline=None)
@given(claims=claims, token=st.text(st.characters(codec="ascii"), min_size=1, max_size=12))
def test_what_is_packed_ahead_is_what_would_be_packed(claims: list[Claim], token: str) -> None:
    kept = Petition(claims).keep()
    for _ in range(2):  # packed for who comes again
        kept.exchange(token)
    (packed,) = kept.exchange(token).commands
    (plain,) = Petition(claims).exchange(token).commands
    assert isinstance(packed, ScriptCall)
    assert isinstance(plain, ScriptCall)
    assert packed.on_wire() == hiredis.pack_command(plain.by_sha())  # type: ignore[arg-type]
    assert (packed.by_sha(), packed.by_source()) == (plain.by_sha(), plain.by_source())
    assert kept.exchange("").read_only


def test_two_threads_that_look_at_what_an_admission_holds_see_the_same_list() -> None:
    class Raced(Decision):
        """Another thread looks while this one makes the list."""

        others: list[Held] | None = None

        def _held_by_verdict(self) -> list[Held]:
            if self.others is None:
                self.others = []
                self.others = self.held
            return super()._held_by_verdict()

    claim = Claim(Limit(5, 60_000_000), "0", "home", 1, "{0}:a")
    verdict = Verdict([1, 10**15, 4, 60_000_000, 60_000_000, 0, 0])
    decision = Raced(True, (claim,), token="t", verdict=verdict)  # no secret
    assert decision.held is decision.others
    assert decision.held == [Held(claim, 10**15 + 60_000_000, 0)]


def test_a_peek_and_a_refusal_hold_nothing() -> None:
    claim = Claim(Limit(5, 60_000_000), "0", "home", 1, "{0}:a")
    fits = Verdict([1, 10**15, 4, 60_000_000, 60_000_000, 0, 0])
    full = Verdict([0, 10**15, 0, 60_000_000, 60_000_000, 60_000_000, 0])
    assert Decision(True, (claim,), verdict=fits).held == []
    assert Decision(False, (claim,), token="t", verdict=full).held == []


def test_who_comes_again_after_the_scripts_were_flushed_is_counted_once(
    limited: Limited, redis_client: redis.Redis
) -> None:
    limited.app.add_url_rule("/", "home", rate_limit(9)(lambda: "ok"))
    for left in (8, 7, 6):
        response = limited.client.get("/")
        assert response.headers["X-RateLimit-Remaining"] == str(left)
        redis_client.script_flush()


def test_an_endless_wait_is_told_as_the_window() -> None:
    petition = Petition([Claim(Limit(5, 60_000_000, "n"), "0", "home", 1, "{0}:a")])
    decision = Decision(False, petition.claims, verdict=Verdict([0, 10**15, 0, 0, 0, -1, 0]))
    assert dict(petition.headers(decision, ("draft-10",)))["RateLimit"] == '"n";r=0;t=60'
    assert math.isinf(decision.retry_after)


def test_what_is_kept_of_all_routes_and_clients_is_bounded(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "MOST_KEPT", 5)
    for endpoint in "ab":
        view = rate_limit(9, key_func=lambda: request.args["who"])(lambda: "ok")
        limited.app.add_url_rule(f"/{endpoint}", endpoint, view)
    for left in (8, 7):
        for endpoint in "ab":
            for who in range(4):
                response = limited.client.get(f"/{endpoint}?who={who}")
                assert response.headers["X-RateLimit-Remaining"] == str(left)
                with limited.app.app_context():
                    gate = limited.kit.ratelimit.engine()
                    kept = [len(gate.route_of(each, "GET").kept) for each in "ab"]
                assert 1 <= sum(kept) <= 5
