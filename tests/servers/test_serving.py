"""One application behind real servers of WSGI: forked with threads, threads alone, greenlets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest

from tests.harness.servers import Server
from tests.servers.serving import COMMANDS, Serving, connections_to
from tests.waiting import wait_until

LIMIT = 30  # as in shop.py, which is imported by the servers alone
VISITORS, VISITS = 8, 6


@pytest.fixture(params=sorted(COMMANDS))
def serving(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Serving]:
    with Serving(request.param, server.url, tmp_path) as serving:
        yield serving
        assert "Traceback" not in serving.output()


def test_concurrent_visitors_get_right_answers_and_no_connection_is_shared(
    serving: Serving, server: Server
) -> None:
    # what --preload loads in the parent has opened a connection there, and started no thread
    assert set(serving.loaded().values()) == {1}
    assert set(serving.loaded()) <= set(serving.processes())
    with ThreadPoolExecutor(VISITORS) as pool:
        visitors = list(pool.map(lambda n: serving.visits(n % 2, VISITS), range(VISITORS)))
    for number, answers in enumerate(visitors):
        assert [answer.status for answer in answers] == [200] * VISITS
        assert [answer.body["visits"] for answer in answers] == list(range(1, VISITS + 1))
        assert {answer.body["computed"] for answer in answers} == {1}
        assert {answer.body["number"] for answer in answers} == {number % 2}
    with server.client() as client:
        (history,) = client.scan_iter(match="frk:*:event:h:*")
        assert client.xlen(history) == VISITORS * VISITS
        jobs = {answer.body["job"] for answers in visitors for answer in answers}
        assert len(jobs) == VISITORS * VISITS

    limited = serving.ask_all(["/limited"] * (2 * LIMIT))
    assert Counter(answer.status for answer in limited) == {200: LIMIT, 429: LIMIT}

    _every_worker_asked(serving)
    held = {pid: connections_to(server.port, pid) for pid in serving.processes()}
    for one, other in combinations(held, 2):
        assert held[one].isdisjoint(held[other]), held
    assert all(held[pid] for pid in serving.processes()[-serving.workers :]), held
    with server.client() as client:
        listed = [each for each in client.client_list() if each["laddr"].startswith("127.0.0.1")]
    assert len(listed) == sum(len(sockets) for sockets in held.values())


def test_while_the_server_hangs_nothing_is_sent_and_afterwards_all_is_well(
    serving: Serving, server: Server
) -> None:
    (first,) = serving.visits(1, 1)
    _every_worker_asked(serving)
    server.pause()
    opened: set[int] = set()

    def all_are_open() -> bool:
        for answer in serving.ask_all(["/asked"] * 8):
            assert answer.status == 200
            if answer.body["error"] == "CircuitOpen":
                opened.add(answer.body["pid"])
        return len(opened) == serving.workers

    wait_until(all_are_open, timeout=60, what="the circuit of every worker to open")
    refused = serving.ask_all(["/asked"] * 40)
    assert {answer.body["error"] for answer in refused} == {"CircuitOpen"}
    assert {answer.body["trips"] for answer in refused} == {0}
    assert {answer.status for answer in serving.ask_all(["/plain"] * 8)} == {200}
    assert {answer.status for answer in serving.ask_all(["/limited"] * 8)} == {200}
    assert serving.get("/visit/1", first.cookie).status == 503
    server.resume()
    _every_worker_asked(serving)
    assert serving.get("/visit/1", first.cookie).body["visits"] == 2


def _every_worker_asked(serving: Serving) -> None:
    """Until every worker has done something with Redis, and all that are asked succeed."""
    done: set[int] = set()

    def all_answer() -> bool:
        answers = serving.ask_all(["/asked"] * 16)
        done.update(answer.body["pid"] for answer in answers if not answer.body["error"])
        return len(done) == serving.workers and not any(a.body["error"] for a in answers)

    wait_until(all_answer, timeout=60, what="every worker to reach Redis")
