"""A kit on some server, and what ``flask redis info`` says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask

from flask_redis_kit import RedisKit, RedisSessionInterface


@contextmanager
def kit_on(url: str, **settings: Any) -> Iterator[RedisKit]:
    app = Flask("shop")
    app.config.update(REDIS_URL=url, **settings)
    kit = RedisKit(app)
    app.session_interface = RedisSessionInterface(kit)
    with app.app_context():
        yield kit
        kit.close()


def info(kit: RedisKit, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of ``flask redis info``."""
    runner = kit.state().app.test_cli_runner()
    result = runner.invoke(args=["redis", "info", *arguments])
    return result.exit_code, result.stdout, result.stderr
