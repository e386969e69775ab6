"""The demo for these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.demo.shop import Shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """An open shop that the tests of a module share."""
    shop = Shop(tmp_path_factory.mktemp("shop") / "instance").opened()
    yield shop
    shop.kill()
    shop.is_gone()


@pytest.fixture
def start_shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Starts shops for this test alone, all on the same data."""
    shops: list[Shop] = []

    def start(**options: int) -> Shop:
        shops.append(Shop(tmp_path / "instance", **options))
        return shops[-1]

    yield start
    for shop in shops:
        shop.kill()
    for shop in shops:
        shop.is_gone()
