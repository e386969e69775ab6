"""pytest fixtures for applications that use the kit: a real server, nothing to install or mock.

In a ``conftest.py``::

    pytest_plugins = ["flask_redis_kit.testing"]

    @pytest.fixture
    def app(redis_kit_url):
        return create_app({"REDIS_URL": redis_kit_url})

Needs the ``embedded`` extra, or a ``valkey-server`` or ``redis-server`` on PATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
import redis

from flask_redis_kit.core.embedded import EmbeddedServer

__all__ = ["redis_kit_server", "redis_kit_url"]


@pytest.fixture(scope="session")
def redis_kit_server() -> Iterator[EmbeddedServer]:
    """A server of this test process alone (so one for each xdist worker); ends with it."""
    server = EmbeddedServer(None, private=True)
    server.ensure()
    yield server
    server.release()


@pytest.fixture
def redis_kit_url(redis_kit_server: EmbeddedServer) -> Iterator[str]:
    """The ``REDIS_URL`` of an empty server. What a test leaves in it is deleted after the test."""
    path = redis_kit_server.ensure(verify=True)
    yield f"unix://{quote(path)}?db=0"
    path = redis_kit_server.ensure(verify=True)
    with redis.Redis(unix_socket_path=path) as client:
        client.flushall()
