"""Tells the page what its request cost, in a ``Server-Timing`` header that a script shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.datastructures import Headers

from examples.shop.extensions import kit


class ServerTiming:
    """WSGI middleware around the application, where a request's last round trip is counted."""

    def __init__(self, wrapped: Callable[..., Iterable[bytes]]) -> None:
        self._wrapped = wrapped

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            facts = _facts(kit.trips_of(environ), Headers(headers))
            timing = ", ".join(f'{name};desc="{value}"' for name, value in facts.items())
            return start_response(status, [*headers, ("Server-Timing", timing)], *exc_info)

        return self._wrapped(environ, start)


def _facts(trips: int, headers: Headers) -> dict[str, str]:
    facts = {"trips": str(trips)}
    if "Cache-Status" in headers:
        facts["cache"] = "hit" if "; hit" in headers["Cache-Status"] else "miss"
    if "X-RateLimit-Limit" in headers:
        left, limit = headers["X-RateLimit-Remaining"], headers["X-RateLimit-Limit"]
        facts["quota"] = f"{left} of {limit}"
    return facts
