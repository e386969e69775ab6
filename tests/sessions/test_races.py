"""Requests of one session at the same time: nothing is lost, nothing comes back."""

from __future__ import annotations

import json
import multiprocessing
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier

import pytest
import redis
from flask import session

from flask_redis_kit.sessions.ids import digest_of
from flask_redis_kit.sessions.signals import session_interrupted
from tests.harness.topologies import client_of
from tests.sessions.conftest import PATIENT, MakeShop
from tests.sessions.shop import Shop, set_cookies

WRITERS = 8
ROUNDS = 60


class Pause:
    """A view that has read its session waits here until the test lets it go on."""

    def __init__(self) -> None:
        self.read = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.read.set()
        assert self.go_on.wait(60)


@pytest.fixture
def pause(shop: Shop) -> Pause:
    """Adds ``/slow/<action>`` to the shop: read, wait, then do it."""
    pause = Pause()

    @shop.app.get("/slow/<action>")
    def slow(action: str) -> str:
        session.get("a")
        pause()
        if action == "write":
            session["late"] = "yes"
        elif action == "regenerate":
            shop.kit.sessions.regenerate(session)
        elif action == "pop":
            session.pop("a")
        elif action == "login":
            session["user_id"] = "late"
        elif action == "clear":
            session.clear()
        return str(session.get("a"))

    return pause


def test_simultaneous_writers_of_different_keys_lose_nothing(shop: Shop) -> None:
    together = threading.Barrier(WRITERS)

    @shop.app.get("/together/<key>/<value>")
    def write(key: str, value: str) -> str:
        session.get("anything")
        together.wait(60)  # all have read the same state
        session[key] = value
        return ""

    sid = shop.session_of(start=1)
    visitors = [shop.visitor(sid) for _ in range(WRITERS)]
    lost = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        for turn in range(ROUNDS):
            paths = [f"/together/k{n}/{turn}" for n in range(WRITERS)]
            list(pool.map(lambda visitor, path: visitor.get(path), visitors, paths))
            found = shop.read(sid)
            lost += sum(found.get(f"k{n}") != str(turn) for n in range(WRITERS))
    assert lost == 0


def write_from_another_process(url: str, sid: str, number: int, together: Barrier) -> None:
    from flask import Flask

    from flask_redis_kit import RedisKit, RedisSessionInterface

    app = Flask("shop")
    app.config.update(PATIENT)
    kit = RedisKit(app, features=("sessions",), url=url)
    app.session_interface = RedisSessionInterface(kit)

    @app.get("/<value>")
    def write(value: str) -> str:
        session.get("anything")
        together.wait(60)
        session[f"p{number}-{value}"] = value
        return ""

    client = app.test_client()
    client.set_cookie("session", sid)
    for turn in range(20):
        assert client.get(f"/{turn}").status_code == 200


def test_writers_in_different_processes_lose_nothing(shop: Shop, redis_url: str) -> None:
    sid = shop.session_of(start=1)
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(3)
    writers = [
        spawn.Process(target=write_from_another_process, args=(redis_url, sid, n, together))
        for n in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    expected = {f"p{n}-{turn}": str(turn) for n in range(3) for turn in range(20)}
    assert shop.read(sid) == {"start": 1, **expected}


def test_a_slow_writer_never_brings_a_logged_out_session_back(shop: Shop) -> None:
    """Each round's interleaving is whatever the threads make of it."""

    @shop.app.get("/dawdle")
    def dawdle() -> str:
        session.get("a")
        for _ in range(random.randrange(2000)):
            pass
        session["late"] = "yes"
        return ""

    resurrected = 0
    with ThreadPoolExecutor(5) as pool:
        for _ in range(ROUNDS):
            sid = shop.session_of(user_id="7", a=1)
            visitors = [shop.visitor(sid) for _ in range(5)]
            paths = ["/dawdle", "/dawdle", "/clear", "/dawdle", "/get/a"]
            list(pool.map(lambda visitor, path: visitor.get(path), visitors, paths))
            resurrected += shop.read(sid) != {}
    assert resurrected == 0


@pytest.mark.parametrize("action", ["write", "pop", "regenerate"])
@pytest.mark.parametrize("ending", ["/clear", "/regenerate", "/anew/9", "/login/9", "expiry"])
def test_what_a_slow_request_did_to_a_session_that_ended_is_dropped(
    shop: Shop, pause: Pause, redis_client: redis.Redis, action: str, ending: str
) -> None:
    sid = shop.session_of(user_id="7", a=1)
    dropped: list[str] = []

    def note(_: object, session: str, reason: str) -> None:
        dropped.append(session)

    with ThreadPoolExecutor(1) as pool, session_interrupted.connected_to(note):
        slow = pool.submit(lambda: shop.visitor(sid).get(f"/slow/{action}"))
        assert pause.read.wait(60)
        if ending == "expiry":
            redis_client.delete(shop.key(sid))
        else:
            shop.visitor(sid).get(ending)
        alive = set(redis_client.keys("frk:*:session:h"))
        pause.go_on.set()
        response = slow.result(60)
    assert response.status_code == 200
    assert set_cookies(response) == []  # it would overwrite the one that the other request set
    assert dropped == [digest_of(sid)]
    assert shop.read(sid) == {}
    keys = redis_client.keys("frk:*:session:h")
    left = [key for key in keys if redis_client.hexists(key, b"\0c")]
    assert set(left) <= alive


def test_a_login_counts_even_if_the_session_before_it_ended(shop: Shop, pause: Pause) -> None:
    sid = shop.session_of(a=1)
    visitor = shop.visitor(sid)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: visitor.get("/slow/login"))
        assert pause.read.wait(60)
        shop.visitor(sid).get("/clear")
        pause.go_on.set()
        assert slow.result(60).status_code == 200
    assert visitor.get("/get/user_id").text == "late"
    assert shop.read(sid) == {}


def test_popping_a_key_keeps_what_another_request_wrote(shop: Shop, pause: Pause) -> None:
    sid = shop.session_of(a=1, b=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: shop.visitor(sid).get("/slow/pop"))
        assert pause.read.wait(60)
        shop.visitor(sid).get("/set/c/3")
        pause.go_on.set()
        slow.result(60)
    assert shop.read(sid) == {"b": 1, "c": "3"}


def test_popping_the_last_key_keeps_what_another_request_wrote(shop: Shop, pause: Pause) -> None:
    sid = shop.session_of(a=1)  # as a page does that shows the only flash message
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: shop.visitor(sid).get("/slow/pop"))
        assert pause.read.wait(60)
        shop.visitor(sid).get("/set/c/3")
        pause.go_on.set()
        assert set_cookies(slow.result(60)) == []
    assert shop.read(sid) == {"c": "3"}


@pytest.mark.parametrize("ending", ["/clear", "/regenerate", "/anew/9", "/login/9"])
def test_popping_the_last_key_never_deletes_the_cookie_that_another_request_set(
    shop: Shop, pause: Pause, ending: str
) -> None:
    sid = shop.session_of(a=1)
    visitor = shop.visitor(sid)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: shop.visitor(sid).get("/slow/pop"))
        assert pause.read.wait(60)
        visitor.get(ending)
        pause.go_on.set()
        assert set_cookies(slow.result(60)) == []


def test_a_slow_reader_changes_nothing(shop: Shop, pause: Pause) -> None:
    sid = shop.session_of(a=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: shop.visitor(sid).get("/slow/read"))
        assert pause.read.wait(60)
        shop.visitor(sid).get("/set/a/2")
        shop.visitor(sid).get("/set/b/2")
        pause.go_on.set()
        assert slow.result(60).text == "1"
    assert shop.read(sid) == {"a": "2", "b": "2"}


def test_clearing_takes_along_what_another_request_wrote(shop: Shop, pause: Pause) -> None:
    sid = shop.session_of(a=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: shop.visitor(sid).get("/slow/clear"))
        assert pause.read.wait(60)
        shop.visitor(sid).get("/set/b/2")
        pause.go_on.set()
        slow.result(60)
    assert shop.read(sid) == {}


def test_an_anonymous_request_with_the_old_id_cannot_overwrite_the_cookie_of_a_login(
    shop: Shop,
) -> None:
    sid = shop.session_of(a=1)
    visitor = shop.visitor(sid)
    visitor.get("/login/7")
    late = shop.visitor(sid).get("/set/csrf/token")  # sent before the browser had the new cookie
    assert late.status_code == 200
    assert set_cookies(late) == []
    assert visitor.get("/get/user_id").text == "7"


def test_two_logins_with_the_same_old_id_both_count(shop: Shop) -> None:
    sid = shop.session_of(a=1)
    first, second = shop.visitor(sid), shop.visitor(sid)
    first.get("/login/7")
    second.get("/login/7")
    assert first.get("/get/user_id").text == "7"
    assert second.get("/get/user_id").text == "7"


def test_scripts_flushed_in_the_middle_harm_nothing(
    make_shop: MakeShop, redis_url: str, redis_client: redis.Redis
) -> None:
    shop = make_shop(redis_url)
    sid = shop.session_of(a=1)
    stop = threading.Event()

    def flush() -> None:
        with client_of(redis_url) as client:
            while not stop.is_set():
                client.script_flush()

    with ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(flush)
        try:
            visitor = shop.visitor(sid)
            for turn in range(50):
                visitor.get(f"/set/k{turn}/{turn}")
                visitor.get("/regenerate")
        finally:
            stop.set()
        flushing.result(60)
    with visitor.session_transaction() as found:
        assert json.dumps(dict(found)) == json.dumps(
            {"a": 1} | {f"k{turn}": str(turn) for turn in range(50)}
        )
