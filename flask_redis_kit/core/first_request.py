"""What is to be looked at once, when an application is set up: right before its first request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from flask import Flask, request_started

log = logging.getLogger("flask_redis_kit")
_CALLS = "redis_kit_at_first_request"
_ABSENT = object()
_LATE = (
    "%s was set or changed after RedisKit(app) or kit.init_app(app) had read the settings, so that "
    "has no effect. Set it before."
)


def at_first_request(app: Flask, call: Callable[[], object]) -> None:
    """Call this right before the application's first request. Later ones cost nothing more."""

    def first_request(_: Flask, **__: object) -> None:
        try:
            calls.remove(first_request)
        except ValueError:
            return  # of several that have come at once, another one is first
        request_started.disconnect(first_request, app)
        call()

    # the signal holds it weakly, so that an application that is never asked can be freed
    calls = app.extensions.setdefault(_CALLS, [])
    calls.append(first_request)
    request_started.connect(first_request, app)


def warn_of_late_settings(app: Flask, keys: Iterable[str]) -> None:
    """Warn, at the first request, of each of these settings that was changed after now."""
    read = {key: app.config.get(key, _ABSENT) for key in keys}

    def look() -> None:
        for key, value in sorted(read.items()):
            now = app.config.get(key, _ABSENT)
            if now is not value and now != value:
                log.warning(_LATE, key)

    at_first_request(app, look)
