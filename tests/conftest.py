"""Fixtures for the whole suite: real servers, a proxy, and checks after every test."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.harness.certificates import Certificates
from tests.harness.leaks import Spec, declared_keyspace, unexpected_persistent_keys
from tests.harness.proxy import Proxy
from tests.harness.servers import Engine, Server, require_engine, requires_redis_server
from tests.harness.topologies import (
    FEATURES,
    TOPOLOGIES,
    data_servers,
    direct,
    stand_in,
    why_standalone,
)
from tests.waiting import wait_until

ENGINES = ("valkey", "redis")
THREADS_END = 30.0
"""Seconds that a test's threads have to end after it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        choices=(*ENGINES, "all"),
        default="valkey",
        help="the server that tests run on: the wheel's Valkey (default), PATH's redis-server, all",
    )
    parser.addoption(
        "--topology",
        choices=TOPOLOGIES,
        default="standalone",
        help="what `server` is; on a group only the tests of the features run",
    )


def pytest_configure() -> None:
    """Before anything is imported that has settings of hypothesis."""
    settings.register_profile(
        "suite",
        deadline=None,
        derandomize="RACE" not in os.environ,  # `make chaos` looks for what is not known yet
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("suite")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.config.getoption("--engine") == "all" and "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", ENGINES, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On another topology: the tests of the features; those that need one server are skipped."""
    if config.getoption("--topology") == "standalone":
        return
    here = Path(__file__).parent
    other = [i for i in items if i.path.relative_to(here).parts[0] not in FEATURES]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in set(other)]
    for item in items:
        if reason := why_standalone(item):
            item.add_marker(pytest.mark.skip(reason=f"needs one server: {reason}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The markers ``redis_server`` and ``tls``: skip on a user's machine, fail in CI."""
    if item.get_closest_marker("tls"):
        requires_redis_server(tls=True)
    elif item.get_closest_marker("redis_server"):
        requires_redis_server()


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    """The server program this run uses (``--engine``)."""
    return require_engine(getattr(request, "param", request.config.getoption("--engine")))


@pytest.fixture(params=ENGINES)
def any_engine(request: pytest.FixtureRequest) -> Engine:
    """Each server program in turn: ``own_server(engine=any_engine)``."""
    return require_engine(request.param)


@pytest.fixture(scope="session")
def topology(request: pytest.FixtureRequest) -> str:
    """``standalone``, ``sentinel`` or ``cluster`` (``--topology``)."""
    return str(request.config.getoption("--topology"))


@pytest.fixture(scope="session")
def session_server(engine: Engine, topology: str) -> Iterator[Server]:
    """One server or group for each test process. Tests ask for ``server``, which cleans up."""
    with Server(engine) if topology == "standalone" else stand_in(topology, engine) as server:
        yield server


@pytest.fixture
def extra_keyspace() -> list[Spec]:
    """Specs of keys that a test's own features leave: append to it."""
    return []


@pytest.fixture
def server(session_server: Server, extra_keyspace: list[Spec]) -> Iterator[Server]:
    """A running, empty server: no keys, no scripts. What it holds afterwards must be declared."""
    session_server.revive()
    yield session_server
    session_server.revive()
    specs = [*declared_keyspace(), *extra_keyspace]
    leaks: list[bytes] = []
    for each in data_servers(session_server):
        with each.client() as client:
            databases = [int(name.removeprefix("db")) for name in client.info("keyspace")]
        for database in databases:
            with each.client(db=database) as client:
                leaks += unexpected_persistent_keys(client, specs)
        with each.client() as client:
            client.client_unpause()
            client.script_flush()
            client.flushall()
    if leaks:
        pytest.fail(f"keys without a TTL or a KeySpec: {leaks}", pytrace=False)


@pytest.fixture
def own_server(engine: Engine) -> Iterator[Callable[..., Server]]:
    """Starts servers for this test alone: ``own_server(password="x")``; options as ``Server``'s."""
    servers: list[Server] = []

    def start(**options: object) -> Server:
        servers.append(Server(**{"engine": engine, **options}))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for each in servers:
        each.stop()


@pytest.fixture
def proxy(server: Server, topology: str) -> Iterator[Proxy]:
    """A counting proxy in front of ``server``."""
    if topology != "standalone":
        yield direct(server.url)
        return
    with Proxy(server.socket_path) as proxy:
        yield proxy


@pytest.fixture
def redis_client(server: Server) -> Iterator[redis.Redis]:
    """A plain redis-py client of ``server``: no retries, bytes."""
    with server.client() as client:
        yield client


@pytest.fixture
def redis_url(server: Server) -> str:
    """The TCP address of ``server``."""
    return server.url


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, a server's and a client's certificate, and a wrong authority."""
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_server(certificates: Certificates) -> Iterator[Server]:
    """A server whose TCP port speaks TLS; trust ``certificates.authority``. Needs PATH's redis."""
    with Server(requires_redis_server(tls=True), tls=certificates.server) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """A test ends the threads it started (daemon threads and asgiref's own may stay)."""
    before = set(threading.enumerate())
    yield

    def left() -> list[threading.Thread]:
        threads = [t for t in threading.enumerate() if t not in before and not t.daemon]
        if threads:
            gc.collect()  # an async view's loop ran in a pool that ends when it is collected
        return threads

    wait_until(lambda: not left(), THREADS_END, what=f"threads to end: {left()}")
