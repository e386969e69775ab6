"""An application with all features and a counter of its own, for the tests of transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from flask_redis_kit import RedisKit
from tests.core.counter import CounterFeature
from tests.harness.leaks import Spec
from tests.harness.proxy import Proxy


class Shop(RedisKit):
    """A kit with ``counter``."""

    counter: CounterFeature


def make_shop() -> Shop:
    kit = Shop()
    kit.register(CounterFeature())
    return kit


@contextmanager
def shop_at(url: str, **settings: Any) -> Iterator[tuple[Flask, Shop]]:
    """The application, with its context pushed, and its kit."""
    app = Flask("shop")
    app.config.update(REDIS_URL=url, **settings)
    kit = make_shop()
    kit.init_app(app)
    with app.app_context():
        try:
            yield app, kit
        finally:
            kit.close()


Opened = tuple[Flask, Shop]


@pytest.fixture
def shop(proxy: Proxy, extra_keyspace: list[Spec]) -> Iterator[Opened]:
    """The application and its kit, behind the proxy."""
    extra_keyspace.extend(CounterFeature.keyspace)
    with shop_at(proxy.url) as opened:
        yield opened


@pytest.fixture
def kit(shop: Opened) -> Shop:
    """The kit of that application."""
    return shop[1]
