"""Run as a program: forks while the hub runs; parent and child each publish and hear.

Argument: the server's URL. Prints "parent ok" and "child ok".
"""

from __future__ import annotations

import os
import sys
import threading

from flask_redis_kit.events import EventReader
from tests.events.browser import EventParser
from tests.events.shop import Shop


def heard(reader: EventReader) -> object:
    """The data of the next event."""
    event = reader.get(60)
    return None if event is None else event.data


def streamed(shop: Shop) -> object:
    """The data of an event that is published while a stream is open."""
    with shop.app.test_request_context(environ_overrides={"wsgi.multithread": True}):
        response = shop.kit.events.stream(channels=["fork"])
    body = iter(response.response)
    parser = EventParser()
    list(parser.feed(bytes(next(body))))  # type: ignore[arg-type]  # bytes, as we made it
    shop.publish("fork", f"stream of {os.getpid()}")
    found = None
    while found is None:
        found = next(parser.feed(bytes(next(body))), None)  # type: ignore[arg-type]  # as above
    response.close()
    return found.content["data"]


def child(shop: Shop, inherited: EventReader) -> None:
    """What the forked child does: nothing of the parent's hub is its own."""
    assert list(inherited) == []  # it ends at once: a reader of the parent is closed here
    inherited.close()
    assert shop.engine.hub.readers == 0
    assert "redis-kit-events" not in {thread.name for thread in threading.enumerate()}
    with shop.app.app_context(), shop.kit.events.subscribe(["fork"]) as reader:
        shop.publish("fork", "from the child")
        assert heard(reader) == "from the child"
    assert streamed(shop) == f"stream of {os.getpid()}"
    shop.close()
    print("child ok", flush=True)


def main(url: str) -> None:
    """Fork in the middle of it."""
    shop = Shop(url, heartbeat=0.1)
    with shop.app.app_context(), shop.kit.events.subscribe(["fork"]) as reader:
        shop.publish("fork", "before")
        assert heard(reader) == "before"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(shop, reader)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert status == 0
        assert heard(reader) == "from the child"
        assert heard(reader) == f"stream of {pid}"
        shop.publish("fork", "after")
        assert heard(reader) == "after"
    assert streamed(shop) == f"stream of {os.getpid()}"
    shop.close()
    print("parent ok", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
