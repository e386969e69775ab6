"""One request at a time: a session to oneself, for what reads a key and writes it again."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
import random
import secrets
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.sessions.errors import SessionBusy
from flask_redis_kit.sessions.session import RedisSession
from flask_redis_kit.sessions.source import unavailable

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("flask_redis_kit.sessions")

FIRST_PAUSE: Final = 0.004
LONGEST_PAUSE: Final = 0.1
"""Seconds between two attempts, drawn at random below it."""


class Exclusive:
    """A decorator, and a context manager, ``with`` and ``async with``; see ``SessionsFeature``.

    ``find``  the session of the current request. An ``Exclusive`` itself holds no state.
    """

    def __init__(self, wait: float, ttl: float, find: Callable[[], RedisSession]) -> None:
        if not wait >= 0:
            raise ValueError(f"exclusive(wait={wait!r}): give seconds, 0 or more.")
        if not ttl > 0:
            raise ValueError(f"exclusive(ttl={ttl!r}): give seconds, more than 0.")
        self._wait = wait
        self._ttl = ttl
        self._find = find

    def __call__(self, view: Callable[P, T]) -> Callable[P, T]:
        if inspect.iscoroutinefunction(view):

            @functools.wraps(view)
            async def waiting(*args: P.args, **kwargs: P.kwargs) -> Any:
                await self._aenter()
                return await view(*args, **kwargs)

            return cast("Callable[P, T]", waiting)

        @functools.wraps(view)
        def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
            self._enter()
            return view(*args, **kwargs)

        return blocking

    def __enter__(self) -> RedisSession:
        return self._enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        saving = self._find().saving
        if saving is None or not saving.leave():
            return
        try:
            saving.commit(release=True)
        except FAILURES as failure:
            if error is None:
                raise
            log.warning("a session could not be stored: %s", failure)

    async def __aenter__(self) -> RedisSession:
        return await self._aenter()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def _enter(self) -> RedisSession:
        session = self._find()
        for pause in self._attempts(session):
            time.sleep(pause)
        return session

    async def _aenter(self) -> RedisSession:
        session = self._find()
        for pause in self._attempts(session):
            await asyncio.sleep(pause)
        return session

    def _attempts(self, session: RedisSession) -> Generator[float]:
        """Try to take the lock; yields the seconds to wait before the next attempt."""
        saving, source, contents = session.saving, session.source_now, session.contents
        session.accessed = True
        if saving is None or source is None or contents.ended or saving.enter():
            return  # nobody shares it, or it is ours already
        store, call = saving.store, saving.batch.call
        token = secrets.token_hex(8)
        lock = store.lock(source.session, token, self._ttl)
        gives_up = time.monotonic() + self._wait
        pause = FIRST_PAUSE
        source.withdraw()  # what was there before the lock is of no use
        outcomes = call(store.wire, (lock, *source.looks()))
        while True:
            try:
                busy_for = float(outcomes[0].result())
            except FAILURES as error:
                raise unavailable(error) from error
            if busy_for == 0:
                break
            left = gives_up - time.monotonic()
            if left <= 0:
                raise SessionBusy(
                    f"Other requests had this session for themselves for {self._wait} s.",
                    retry_after=max(1, math.ceil(busy_for)),
                )
            yield min(pause * random.uniform(0.5, 1), left, busy_for)  # noqa: S311  # no secret
            pause = min(pause * 1.5, LONGEST_PAUSE)
            outcomes = call(store.wire, (lock,))
        saving.hold(source.session, token)
        try:
            fresh = source.read(outcomes[1:]) if len(outcomes) > 1 else source.again()
        except FAILURES:
            saving.unlock()
            raise
        if not contents.rebase(fresh):
            store.interrupted(source.session, "ended")
