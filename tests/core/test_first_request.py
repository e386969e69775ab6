"""Settings that came too late are told of, once, when the first request comes."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask, request_started

from flask_redis_kit import RedisKit


def warned(app: Flask, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the first two requests have logged; nothing of theirs needs a server."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "flask_redis_kit"):
        for _ in range(2):
            assert app.test_client().get("/").status_code == 404
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"REDIS_URL": "redis://:secret@redis.internal/0"}),
        ({"REDIS_CACHE_ENABLED": True}, {"REDIS_CACHE_ENABLED": False}),
        ({}, {"REDIS_RATELIMIT_DEFAULT": "1/minute"}),
        ({}, {"SESSION_IDLE_TIMEOUT": 60}),
    ],
)
def test_a_setting_that_comes_after_the_kit_is_warned_of_once(
    before: dict[str, Any], after: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("shop")
    app.config.update(before)
    RedisKit(app)
    app.config.update(after)
    [said] = warned(app, caplog)
    assert said.startswith(f"{next(iter(after))} was set or changed after RedisKit(app)")
    assert "secret" not in said


def test_other_settings_and_equal_ones_may_be_set_at_any_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Flask("shop")
    app.config["REDIS_OPTIONS"] = {"socket_keepalive": True}
    RedisKit(app)
    app.config.update(REDIS_OPTIONS={"socket_keepalive": True}, REDIS_FOREIGN=1, TESTING=True)
    assert warned(app, caplog) == []


def test_of_requests_that_come_at_once_one_is_the_first(caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("shop")
    RedisKit(app, features=())
    app.config["REDIS_PORT"] = 1
    [look] = request_started.receivers_for(app)
    assert len(warned(app, caplog)) == 1
    look(app)  # by a request that had begun before the first one was through
    assert len(caplog.records) == 1


def test_each_kit_knows_its_own_settings(caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("shop")
    RedisKit(app)
    RedisKit(app, name="two", config_prefix="REDIS2", features=("cache",))
    app.config["REDIS2_CACHE_DEFAULT_TTL"] = 5
    [said] = warned(app, caplog)
    assert said.startswith("REDIS2_CACHE_DEFAULT_TTL was set")
