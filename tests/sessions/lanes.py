"""Lanes: requests of one application that run at the same time, in threads or in processes.

A lane serves one request after the other. A view that calls ``pause()`` waits there until the test
says ``go_on()``: so a test decides what happens while a request is under way.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final, Literal, NamedTuple, Protocol

from flask import Flask, session

from flask_redis_kit import RedisKit, RedisSessionInterface
from flask_redis_kit.sessions import session_interrupted
from tests.sessions.conftest import PATIENT
from tests.sessions.shop import Shop, add_simple_views, set_cookies

Kind = Literal["threads", "processes"]
PATIENCE: Final = 60


class Answer(NamedTuple):
    """What came of a request. ``dropped``: the reasons of ``session_interrupted``."""

    status: int
    text: str
    cookies: list[str]
    sid: str
    dropped: list[str]


class Pipe(Protocol):
    """One end of a line between a test and a lane."""

    def send(self, message: Any) -> None: ...
    def recv(self) -> Any: ...


class _Queues:
    """The end of a line between two threads. ``patience``: seconds, None: for ever."""

    def __init__(
        self, out: queue.Queue[Any], back: queue.Queue[Any], patience: float | None
    ) -> None:
        self._out, self._back, self._patience = out, back, patience

    def send(self, message: Any) -> None:
        self._out.put(message)

    def recv(self) -> Any:
        return self._back.get(timeout=self._patience)


class Lane:
    """The test's side."""

    def __init__(self, line: Pipe) -> None:
        self._line = line

    def start(self, path: str, sid: str = "", *, pauses: bool = False) -> None:
        """Begin a request; ``pauses``: wait until it has come to its pause."""
        self._line.send((path, sid))
        if pauses:
            assert self._line.recv() == "paused"

    def go_on(self) -> None:
        """Let it go on after its pause."""
        self._line.send("go on")

    def answer(self) -> Answer:
        """Wait for its answer."""
        found = self._line.recv()
        assert isinstance(found, Answer), found
        return found

    def request(self, path: str, sid: str = "") -> Answer:
        """A whole request without a pause."""
        self.start(path, sid)
        return self.answer()

    def ready(self) -> None:
        """Wait until it has its application."""
        assert self._line.recv() == "ready"

    def stop(self) -> None:
        """No more requests."""
        self._line.send(None)


def serve(url: str, name: str, config: dict[str, object], line: Pipe) -> None:
    """The lane's side: an application of its own, for as long as requests come."""
    app = Flask(name)
    app.config.update(PATIENT | {"REDIS_URL": url} | config)
    kit = RedisKit(app, features=("sessions",))
    app.session_interface = RedisSessionInterface(kit)
    add_simple_views(app)
    shop = Shop(app, kit)
    dropped: list[str] = []

    def note(sender: object, session: str, reason: str) -> None:
        if sender is engine:
            dropped.append(reason)

    def pause() -> None:
        line.send("paused")
        assert line.recv() == "go on"

    add_racing_views(shop, pause)
    with app.app_context():
        engine = kit.sessions.engine()
    line.send("ready")
    with session_interrupted.connected_to(note):
        while (wanted := line.recv()) is not None:
            path, sid = wanted
            dropped.clear()
            response = shop.visitor(sid or None).get(path)
            cookies = set_cookies(response)
            sent = cookies[0].partition("=")[2].partition(";")[0] if cookies else ""
            line.send(Answer(response.status_code, response.text, cookies, sent, list(dropped)))
    with app.app_context():
        kit.close()


def add_racing_views(shop: Shop, pause: Callable[[], None]) -> None:
    """Views that look at their session, wait, and then do something to it."""

    @shop.app.get("/slow/<action>")
    def slow(action: str) -> str:
        session.get("a")
        pause()
        _act(shop, action)
        return str(session.get("a"))

    @shop.app.get("/quick/<action>")
    def quick(action: str) -> str:
        session.get("a")
        _act(shop, action)
        return str(session.get("a"))

    @shop.app.get("/blind/<action>")
    def blind(action: str) -> str:
        pause()
        _act(shop, action)
        return ""

    @shop.app.get("/count")
    def count() -> str:
        with shop.kit.sessions.exclusive(wait=PATIENCE):
            session["n"] = session.get("n", 0) + 1
        return ""

    @shop.app.get("/revoke/<user>")
    def revoke(user: str) -> str:
        return str(shop.kit.sessions.revoke_user(user))


def _act(shop: Shop, action: str) -> None:
    name, _, value = action.partition("-")
    if name == "write":
        session[value] = "slow"
    elif name == "pop":
        session.pop(value)
    elif name == "login":
        session["user_id"] = value
    elif name == "regenerate":
        shop.kit.sessions.regenerate(session)
    elif name == "clear":
        session.clear()
    elif name == "revoke":
        shop.kit.sessions.revoke_user(value)
    else:
        assert name == "read", action


@contextmanager
def lanes(
    kind: Kind, url: str, count: int, *, name: str = "shop", **config: object
) -> Iterator[list[Lane]]:
    """That many lanes, each with an application of its own."""
    if kind == "threads":
        with _threads(url, count, name, config) as found:
            yield found
    else:
        with _processes(url, count, name, config) as found:
            yield found


@contextmanager
def _threads(url: str, count: int, name: str, config: dict[str, object]) -> Iterator[list[Lane]]:
    found, threads = [], []
    for _ in range(count):
        out: queue.Queue[Any] = queue.Queue()
        back: queue.Queue[Any] = queue.Queue()
        served = _Queues(back, out, None)
        thread = threading.Thread(target=serve, args=(url, name, config, served), daemon=True)
        thread.start()
        threads.append(thread)
        found.append(Lane(_Queues(out, back, PATIENCE)))
        # one after the other: two threads that compile an application's rules at the same time
        # may get a SystemError of CPython's parser
        found[-1].ready()
    try:
        yield found
    finally:
        for lane in found:
            lane.stop()
        for thread in threads:
            thread.join(PATIENCE)


@contextmanager
def _processes(url: str, count: int, name: str, config: dict[str, object]) -> Iterator[list[Lane]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # they import all of it once
    found, processes = [], []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve_in_process, args=(url, name, config, theirs))
        process.start()
        theirs.close()
        processes.append(process)
        found.append(Lane(ours))
    try:
        for lane in found:
            lane.ready()
        yield found
    finally:
        for lane in found:
            lane.stop()
        for process in processes:
            process.join(PATIENCE)
        assert [process.exitcode for process in processes] == [0] * count


def _serve_in_process(url: str, name: str, config: dict[str, object], line: Connection) -> None:
    serve(url, name, config, line)
