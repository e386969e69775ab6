"""The engine when the server can't be asked: what each policy does, and what it leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis

from flask_redis_kit import ServerUnavailable
from flask_redis_kit.ratelimit.identity import hashed
from flask_redis_kit.ratelimit.limits import Claim, Limit
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.ratelimit.conftest import Limited, MakeApp
from tests.waiting import wait_until

Claiming = Callable[..., Claim]
LOGGER = "flask_redis_kit.ratelimit"


@pytest.fixture
def limited(make_app: MakeApp) -> Any:
    limited = make_app(REDIS_RATELIMIT_WORKERS=2, REDIS_SOCKET_TIMEOUT=1)
    with limited.app.app_context():
        yield limited


@pytest.fixture
def claim(limited: Limited) -> Claiming:
    limiter = limited.limiter

    def make(units: int, *, who: str = "a", scope: str = "s", **options: Any) -> Claim:
        limit = Limit.checked(units, 60, **options)
        return limiter.claim(limit, hashed(who, source="test"), scope)

    return make


def test_limits_of_several_policies_in_one_request(
    limited: Limited, claim: Claiming, server: Server
) -> None:
    limiter = limited.limiter
    open_, local = claim(1, scope="o"), claim(4, scope="l", on_error="local")
    closed = claim(9, scope="c", on_error="closed")
    raising = claim(9, scope="r", on_error="raise")
    server.kill()
    decision = limiter.acquire([open_, local])
    assert decision.allowed
    assert decision.failure is not None
    assert [(r.counted, r.local) for r in decision.results] == [(False, False), (True, True)]
    assert decision.results[1].remaining == 1  # its half of 4, less one
    refused = limiter.acquire([open_, local, closed])
    assert (refused.allowed, refused.unavailable) == (False, True)
    with pytest.raises(ServerUnavailable):
        limiter.acquire([open_, local, raising])
    # those that did not pass are not counted locally either
    assert limiter.acquire([local]).allowed
    third = limiter.acquire([open_, local])
    assert (third.allowed, third.unavailable) == (False, False)
    assert 0 < third.retry_after <= 60


def test_a_local_refusal_is_refused_rather_than_unavailable(
    limited: Limited, claim: Claiming, server: Server
) -> None:
    local = claim(2, scope="l", on_error="local")
    server.kill()
    assert limited.limiter.acquire([local]).allowed
    refused = limited.limiter.acquire([local])
    assert [result.local for result in refused.refused] == [True]


def test_a_shadow_limit_refuses_nobody_even_if_its_policy_is_closed(
    limited: Limited, claim: Claiming, server: Server
) -> None:
    server.kill()
    for policy in ("closed", "raise", "local"):
        shadow = claim(1, shadow=True, on_error=policy)
        assert [limited.limiter.acquire([shadow]).allowed for _ in range(3)] == [True] * 3


def test_local_counts_are_refunded_released_renewed_and_reset(
    limited: Limited, claim: Claiming, server: Server
) -> None:
    limiter = limited.limiter
    rate = claim(2, scope="r", on_error="local", refundable=True)
    place = claim(2, scope="p", on_error="local", kind="concurrency")
    server.kill()
    first = limiter.acquire([rate, place])
    assert first.allowed
    assert not limiter.acquire([rate]).allowed
    limiter.refund(first)
    assert limiter.acquire([rate]).allowed
    assert not limiter.acquire([place]).allowed
    assert limiter.renew(first)
    limiter.release(first)
    assert not limiter.renew(first)
    assert limiter.acquire([place]).allowed
    assert not limiter.acquire([place]).allowed
    server.start()
    wait_until(lambda: limiter.peek([rate]).failure is None)
    limiter.reset([rate, place])
    assert limiter.acquire([rate, place]).failure is None


def test_what_was_counted_locally_does_not_go_to_the_server(
    limited: Limited, claim: Claiming, server: Server
) -> None:
    limiter = limited.limiter
    local = claim(4, on_error="local")
    server.kill()
    assert [limiter.acquire([local]).allowed for _ in range(3)] == [True, True, False]
    server.start()
    wait_until(lambda: limiter.peek([local]).failure is None)
    assert limiter.peek([local]).results[0].remaining == 4


def test_a_lease_whose_reply_was_lost_ends_with_its_request(
    limited: Limited, claim: Claiming, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """It may have been counted: its name is known, so it is released all the same."""
    limiter = limited.limiter
    place = claim(1, kind="concurrency")
    proxy.cut_after(1)  # the script ran, one byte of its reply arrives
    decision = limiter.acquire([place])
    assert decision.allowed
    assert redis_client.zcard(place.key) == 1
    limiter.release(decision)
    assert redis_client.exists(place.key) == 0


def test_a_lease_that_is_counted_here_is_renewed_here_even_if_the_server_may_know_it(
    limited: Limited, claim: Claiming, proxy: Proxy, server: Server, redis_client: redis.Redis
) -> None:
    limiter = limited.limiter
    place = claim(2, kind="concurrency", on_error="local")
    proxy.cut_after(1)
    decision = limiter.acquire([place])
    assert redis_client.zcard(place.key) == 1
    server.pause()
    try:
        assert limiter.renew(decision)
    finally:
        server.resume()
    limiter.release(decision)
    assert not limiter.renew(decision)
    wait_until(lambda: redis_client.exists(place.key) == 0)


def test_a_refund_that_fails_leaves_the_unit_counted_and_says_so(
    limited: Limited,
    claim: Claiming,
    server: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiter = limited.limiter
    asked = claim(5)
    decision = limiter.acquire([asked])
    server.pause()
    try:
        with caplog.at_level(logging.WARNING, LOGGER):
            limiter.refund(decision)
    finally:
        server.resume()
    assert "could not be handed back" in caplog.text


def test_one_warning_a_minute_names_what_happens_to_requests(
    limited: Limited, claim: Claiming, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    local, closed = claim(4, on_error="local"), claim(4, scope="c", on_error="closed")
    server.kill()
    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(5):
            limited.limiter.acquire([local, closed])
    records = [record for record in caplog.records if record.name == LOGGER]
    assert len(records) == 1
    assert "refused with 503 or limited by each process for itself" in records[0].getMessage()
