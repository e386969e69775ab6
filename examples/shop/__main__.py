"""Start the book shop: the web server here, one queue worker beside it, on an embedded server."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import waitress
from flask import Flask
from waitress import wasyncore

from examples.shop.app import INSTANCE, create_app
from examples.shop.extensions import catalogue, kit
from examples.shop.generator import LINES
from flask_redis_kit import RedisKitError

# The worker ends with this process, even if it is killed: then the pipe to `cat` closes.
_WATCH = '"$@" </dev/null & cat >/dev/null; kill "$!" 2>/dev/null; wait "$!"'


def main() -> int:
    """Serve until Ctrl-C or SIGTERM."""
    options = _options()
    app = create_app(options.instance)
    sockets: dict[int, Any] = {}
    try:
        # each open live feed holds a thread
        server = waitress.create_server(
            app,
            map=sockets,
            host=options.host,
            port=options.port,
            threads=32,
            channel_request_lookahead=1,  # to notice at once when a browser is gone
        )
    except OSError as error:
        print(f"Can't listen on {options.host}:{options.port}: {error.strerror}.")
        print(f"Try another port: make demo PORT={options.port + 1}")
        return 1
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        with app.app_context():
            _prepare(options.lines)
            kit.client.ping()
        with _worker(options.instance), _web(app, server):
            print(f"\n  The shop is open: http://{options.host}:{options.port}", flush=True)
            print("  Ctrl-C closes it.\n", flush=True)
            wasyncore.loop(timeout=1, map=sockets)
    except KeyboardInterrupt:
        print("Closed.", flush=True)
    except RedisKitError as error:
        print(error)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--instance", type=Path, default=INSTANCE, help="where the data lies")
    parser.add_argument("--lines", type=int, default=LINES, help="order lines to make at first")
    return parser.parse_args()


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the second time it does not wait for anything
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise KeyboardInterrupt


def _prepare(lines: int) -> None:
    started = time.perf_counter()
    print("Looking for the catalogue …", flush=True)
    if catalogue().prepare(lines):
        kit.cache.clear()  # pages of a catalogue that is gone
        print(f"Made one in {time.perf_counter() - started:.1f} s.", flush=True)


@contextmanager
def _worker(instance: Path) -> Iterator[None]:
    factory = f"examples.shop.app:create_app({str(instance)!r})"
    flask = [sys.executable, "-m", "flask", "--app", factory]
    process = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "watch", *flask, "redis", "worker"],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; the worker is stopped in order
    )
    try:
        yield
    finally:
        process.communicate()  # closes the pipe


@contextmanager
def _web(app: Flask, server: Any) -> Iterator[None]:
    try:
        yield
    finally:
        print("\nClosing the shop …", flush=True)
        with app.app_context():
            kit.events.end_streams()
            server.task_dispatcher.shutdown()
            server.close()
            kit.close()


if __name__ == "__main__":
    sys.exit(main())
