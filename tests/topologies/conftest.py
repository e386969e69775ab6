"""Server groups for the tests of topologies: one for the whole run, more for tests that need it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.harness.engines import Engine
from tests.harness.sentinels import SentinelGroup
from tests.topologies.clusters import cluster, own_cluster, session_cluster

__all__ = ["cluster", "own_cluster", "session_cluster"]


@pytest.fixture(scope="session")
def session_sentinels(engine: Engine) -> Iterator[SentinelGroup]:
    """One Sentinel group for each test process. Tests ask for ``sentinels``, which cleans up."""
    with SentinelGroup(engine) as group:
        yield group


@pytest.fixture
def sentinels(session_sentinels: SentinelGroup) -> SentinelGroup:
    """A Sentinel group in which all is well, with empty servers."""
    session_sentinels.wait_until_stable()
    session_sentinels.flush()
    return session_sentinels


@pytest.fixture
def own_sentinels(engine: Engine) -> Iterator[Callable[..., SentinelGroup]]:
    """Starts groups for this test alone; options as ``SentinelGroup``'s."""
    groups: list[SentinelGroup] = []

    def start(**options: object) -> SentinelGroup:
        groups.append(SentinelGroup(**{"engine": engine, **options}))  # type: ignore[arg-type]
        return groups[-1]

    yield start
    for group in groups:
        group.stop()
