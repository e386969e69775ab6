"""What happens when a server fails: the policy of a feature, and the circuit breaker of a server.

The breaker is per endpoint and process. It opens after a few failures in a row, or at once when a
reply did not come in time (waiting again would cost each caller the whole timeout); while it is
open a command fails in microseconds. A background thread asks the server until it answers; where no
thread can run, or it is overdue, one request is let through to ask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from redis.exceptions import RedisError, TimeoutError  # noqa: A004  # redis-py's name for it

from flask_redis_kit.core import signals
from flask_redis_kit.core.errors import CircuitOpen, RedisKitError

OnError = Literal["open", "closed", "raise"]
"""What a feature does when its server can't serve it: go on without, refuse (503), or raise."""

PROBE_INTERVAL = 0.25
OVERDUE = 1.0

FAILURES = (RedisError, RedisKitError, OSError)
"""What a failing server can raise; anything else is a defect and passes through."""


class CircuitBreaker:
    """Opens after ``failures`` failures in a row; a probe closes it when the server is back.

    ``check()`` costs one attribute read while closed. Times are seconds on the monotonic clock.
    """

    def __init__(
        self,
        address: str,
        probe: Callable[[], None],
        *,
        failures: int = 3,
        open_seconds: float = 1.0,
    ) -> None:
        self._address = address
        self._probe = probe
        self._limit = failures
        self._open_seconds = open_seconds
        self._failed = 0
        self._open_until: float | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._cause = ""

    @property
    def state(self) -> Literal["open", "closed"]:
        """ "open": commands are refused without asking the server."""
        return "closed" if self._open_until is None else "open"

    def check(self) -> None:
        """Raise ``CircuitOpen`` while open, unless this caller has to ask the server itself."""
        if self._open_until is not None:
            self._check_open()

    def _check_open(self) -> None:
        now = time.monotonic()
        with self._lock:
            until = self._open_until
            if until is None:
                return
            if now >= until + OVERDUE:
                self._open_until = now + self._open_seconds  # the next caller waits again
                return
        if signals.refused.receivers:
            signals.refused.send(self, address=self._address)
        raise CircuitOpen(
            f"{self._address} failed a moment ago ({self._cause}); not asked again yet.",
            address=self._address,
            retry_after=max(0.0, until - now) + PROBE_INTERVAL,
        )

    def succeeded(self) -> None:
        """The server answered."""
        if self._failed or self._open_until is not None:
            with self._lock:
                self._failed = 0
                was_open, self._open_until = self._open_until is not None, None
            if was_open:
                signals.breaker_changed.send(self, state="closed", address=self._address)

    def failed(self, error: Exception) -> None:
        """The server did not answer.

        A connection that was cut says nothing: a server that cuts all of them at once (a failover,
        ``CLIENT KILL``) may be well. If it isn't, the next attempt to connect fails, and counts.
        """
        if getattr(error, "maybe_sent", False) and not isinstance(error, TimeoutError):
            return
        with self._lock:
            self._failed += self._limit if isinstance(error, TimeoutError) else 1
            self._cause = type(error).__name__
            if self._failed < self._limit or self._open_until is not None:
                return
            self._open_until = time.monotonic() + self._open_seconds
            self._start_probe()
        signals.breaker_changed.send(self, state="open", address=self._address)

    def close(self) -> None:
        """Stop probing for good."""
        self._closing.set()

    def after_fork(self) -> None:
        """In a forked child: locks may be held by threads that don't exist here."""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._failed = 0
        self._open_until = None

    def _start_probe(self) -> None:
        thread = threading.Thread(target=self._probing, name="redis-kit-probe", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # no thread can be started (interpreter shutdown, some servers): an overdue probe
            # rides a request, see check()
            return

    def _probing(self) -> None:
        closing = self._closing
        while self._open_until is not None:
            try:
                self._probe()
            except FAILURES:
                with self._lock:
                    if self._open_until is not None:
                        self._open_until = time.monotonic() + self._open_seconds
                if closing.wait(PROBE_INTERVAL):
                    return
            else:
                self.succeeded()
