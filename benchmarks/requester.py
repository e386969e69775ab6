"""The same request to a Flask application again and again, without the cost of a test client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder


def requester(
    app: Flask,
    path: str = "/page",
    *,
    status: str = "200 OK",
    length: int | None = None,
    headers: list[tuple[str, str]] | None = None,
) -> Callable[[], None]:
    """Calls ``GET path`` as a WSGI server would, and checks the answer.

    ``length``: of the body, in bytes; None: any.
    """
    made = EnvironBuilder(path=path, headers=headers).get_environ()
    made["REMOTE_ADDR"] = "127.0.0.1"

    def start_response(got: str, *_: Any) -> Any:
        assert got == status, got

    def call() -> None:
        body = app(dict(made), start_response)
        received = len(b"".join(body))
        assert length is None or received == length
        body.close()  # type: ignore[attr-defined]  # werkzeug's iterable has it

    return call
