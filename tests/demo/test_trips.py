"""What the demo's pages cost, counted on the connection to the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from examples.shop.app import create_app
from examples.shop.extensions import catalogue, kit
from tests.harness.proxy import Proxy


@pytest.fixture
def app(tmp_path: Path, proxy: Proxy) -> Iterator[Flask]:
    app = create_app(tmp_path, REDIS_URL=proxy.url)
    with app.app_context():
        catalogue().prepare(lines=1000)
    yield app
    with app.app_context():
        kit.close()


def test_session_three_limits_and_cached_page_are_one_round_trip(app: Flask, proxy: Proxy) -> None:
    client = app.test_client()
    client.post("/login", data={"name": "Ada"})
    client.get("/search?q=tide")  # the server knows the scripts from now on
    for cache, trips in (("miss", 3), ("hit", 1), ("hit", 1)):
        with proxy.counting() as count:
            response = client.get("/search?q=lantern")
        assert "Hello, <b>Ada</b>" in response.text
        assert response.headers["X-RateLimit-Limit"] == "8"
        assert f'trips;desc="{trips}", cache;desc="{cache}"' in response.headers["Server-Timing"]
        assert count.trips == trips


def test_a_page_that_is_still_current_is_one_round_trip(app: Flask, proxy: Proxy) -> None:
    client = app.test_client()
    client.post("/login", data={"name": "Ada"})
    etag = client.get("/search").headers["ETag"]
    with proxy.counting() as count:
        response = client.get("/search", headers={"If-None-Match": etag})
    assert (response.status_code, response.data) == (304, b"")
    assert count.trips == 1


def test_a_static_file_is_no_round_trip_even_with_a_session(app: Flask, proxy: Proxy) -> None:
    client = app.test_client()
    client.post("/login", data={"name": "Ada"})
    with proxy.counting() as count, client.get("/static/shop.css") as response:
        assert response.status_code == 200
    assert count.trips == 0


def test_a_refusal_that_is_known_here_is_no_round_trip(app: Flask, proxy: Proxy) -> None:
    client = app.test_client()
    for _ in range(8):
        assert client.get("/search").status_code == 200
    assert client.get("/search").status_code == 429
    with proxy.counting() as count:
        assert client.get("/search").status_code == 429
    assert count.trips == 0
