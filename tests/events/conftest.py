"""Applications of the tests of the events, closed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.events.shop import Shop
from tests.harness.servers import Server


@pytest.fixture
def open_shop(server: Server) -> Iterator[Callable[..., Shop]]:
    """Makes applications on ``server``: ``open_shop(history_length=10)``."""
    shops: list[Shop] = []

    def make(url: str | None = None, **settings: object) -> Shop:
        shops.append(Shop(url or server.url, **settings))
        return shops[-1]

    yield make
    for each in shops:
        each.close()


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    """An application whose streams send a comment every tenth of a second."""
    return open_shop(heartbeat=0.1)
