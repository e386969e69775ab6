"""Signals and counters: each outcome once, by policy, and nobody's key in any of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from flask_redis_kit import RateLimitExceeded, rate_limit
from flask_redis_kit.ratelimit import signals
from tests.harness.servers import Server
from tests.ratelimit.conftest import Limited, MakeApp
from tests.waiting import wait_until

ALL = {
    "admitted": signals.limit_admitted,
    "near": signals.limit_near,
    "refused": signals.limit_refused,
    "shadow": signals.limit_shadow_exceeded,
    "failed": signals.limit_failed,
}


@contextmanager
def heard() -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    """What is sent meanwhile: the signal, the policy, and what else it says."""
    sent: list[tuple[str, str, dict[str, Any]]] = []
    with ExitStack() as stack:
        for name, signal in ALL.items():

            def listen(sender: Any, *, name: str = name, **values: Any) -> None:
                policy = values.pop("policy")
                sent.append((name, policy, {"sender": sender, **values}))

            stack.enter_context(signal.connected_to(listen))
        yield sent


def names(sent: list[tuple[str, str, dict[str, Any]]]) -> list[tuple[str, str]]:
    return [(name, policy) for name, policy, _ in sent]


def counts(limited: Limited) -> dict[tuple[str, str], int]:
    with limited.app.app_context():
        return limited.kit.ratelimit.context().counters.read()


def test_a_listener_that_fails_ends_the_call_and_its_place(limited: Limited) -> None:
    @limited.kit.ratelimit.concurrency_limit(1, key_func=lambda: "all")
    def work() -> str:
        return "done"

    def fail(_: Any, **__: Any) -> None:
        raise LookupError("a defect of the listener")

    with limited.app.app_context():
        with signals.limit_admitted.connected_to(fail), pytest.raises(LookupError):
            work()
        assert work() == "done"


def test_each_outcome_is_told_and_counted(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(2, key_func=lambda: "secret-user")
    @rate_limit(1, 90, shadow=True, name="trial", key_func=lambda: "secret-user")
    def home() -> str:
        return "ok"

    with heard() as sent:
        assert limited.statuses("/", 4) == [200, 200, 429, 429]
    assert names(sent) == [
        ("admitted", "home per-minute"),
        ("admitted", "trial"),
        ("near", "trial"),
        ("admitted", "home per-minute"),
        ("near", "home per-minute"),
        ("shadow", "trial"),
        ("refused", "home per-minute"),
        ("refused", "home per-minute"),
    ]
    assert [values["locally"] for name, _, values in sent if name == "refused"] == [False, True]
    assert {values["sender"] for _, _, values in sent} == {limited.app}
    assert "secret" not in repr(sent)
    assert counts(limited) == {
        ("home per-minute", "admitted"): 2,
        ("home per-minute", "refused"): 1,
        ("home per-minute", "refused-locally"): 1,
        ("trial", "admitted"): 1,
        ("trial", "shadow"): 1,
    }


def test_a_limit_that_gets_near_says_so_once_on_the_way_up(limited: Limited) -> None:
    with heard() as sent, limited.app.app_context():
        for cost in (3, 4, 1, 1, 1):
            limited.kit.ratelimit.check(10, key="k", name="export", cost=cost)
        with pytest.raises(RateLimitExceeded):
            limited.kit.ratelimit.check(10, key="k", name="export")
    near = [values["result"] for name, _, values in sent if name == "near"]
    assert [(result.remaining, result.limit) for result in near] == [(2, 10)]


def test_an_outage_is_told_with_what_became_of_the_requests(
    make_app: MakeApp, server: Server
) -> None:
    limited = make_app()
    for policy in ("open", "closed", "local"):
        view = rate_limit(5, on_error=policy)(lambda: "ok")
        limited.app.add_url_rule(f"/{policy}", policy, view)
    server.kill()
    with heard() as sent:
        for policy in ("open", "closed", "local"):
            limited.client.get(f"/{policy}")
    told = [(policy, values["outcome"]) for name, policy, values in sent if name == "failed"]
    assert told == [
        ("open per-minute", "open"),
        ("closed per-minute", "closed"),
        ("local per-minute", "local"),
    ]
    assert ("admitted", "local per-minute") in names(sent)
    server.start()
    wait_until(lambda: "X-RateLimit-Limit" in limited.client.get("/open").headers)
    assert {key for key in counts(limited) if key[1] == "error"} == {
        (f"{policy} per-minute", "error") for policy in ("open", "closed", "local")
    }
