"""How a view's computation ends: with a store in the request's last trip, or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Request, Response

from flask_redis_kit.cache import representation
from flask_redis_kit.cache.answer import PERSONAL, Answer
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.entry import Committed
from flask_redis_kit.cache.flight import Turn
from flask_redis_kit.cache.pages import Pages
from flask_redis_kit.cache.running import Running
from flask_redis_kit.cache.signals import report
from flask_redis_kit.cache.storability import (
    LATE_COOKIE,
    SESSION,
    WRITTEN,
    Refusal,
    refusal,
    untold,
)
from flask_redis_kit.cache.telling import Told
from flask_redis_kit.cache.terms import terms
from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.session_watch import keys_read, session_accessed, session_modified


class Ending:
    """The end of one turn at a route. Made before the view is called.

    What is stored is what the view returned. Whether it is, is decided in the end: the session may
    be read, and a cookie set, by what comes after the view.
    """

    __slots__ = (
        "_answer",
        "_covered",
        "_engine",
        "_modified",
        "_pages",
        "_request",
        "_running",
        "_told",
        "_turn",
    )

    def __init__(
        self,
        engine: CacheEngine,
        pages: Pages,
        request: Request,
        answer: Answer,
        turn: Turn,
        running: Running,
        told: Told | None,
    ) -> None:
        self._engine = engine
        self._pages = pages
        self._request = request
        self._answer = answer
        self._turn = turn
        self._running = running
        self._told = told
        # a function in `vary` tells users apart only if somebody has read who it is by now
        variants = pages.variants
        named = bool(variants.factors) and session_accessed()
        self._covered = pages.options.public or named or "cookie" in variants.names
        self._modified = session_modified()

    def keep(self, response: Response) -> Response:
        """Leave the store for the last trip, or the end of the lease if there is nothing to store.

        Completes the response: its length, ``ETag``, ``Vary``, ``Cache-Status``.
        """
        stale = self._turn.stale is not None
        if self._turn.token is None:
            return self._answer.refused(response, stale=stale)
        made_etag = "ETag" not in response.headers
        storing, why = self._storing(response)
        if storing is not None:
            self._defer(storing, response)
            return self._answer.kept(response, stale=stale, made_etag=made_etag)
        # after an error of the server's those who wait go on one by one
        self.abandon(refused=response.status_code < 500)
        if why is not None:
            self._pages.refused(self._engine, self._request, why)
        reason = None if why is None else why.reason
        return self._answer.refused(response, stale=stale, reason=reason)

    def abandon(self, *, refused: bool = False) -> None:
        """Give the lease back, in the last trip; ``refused``: there is an answer all the same."""
        self._end(self._engine.flights.releasing(self._turn, refused=refused))

    def _storing(self, response: Response) -> tuple[Exchange[Committed] | None, Refusal | None]:
        pages, engine = self._pages, self._engine
        why = refusal(response, self._request, pages.options, pages.variants)
        if why is None:
            why = self._later(response) or self._unread() or self._written()
        if why is not None:
            return None, why
        lifetime = terms(engine, pages.recipe, response, self._running)
        if isinstance(lifetime, str):
            return None, Refusal(lifetime)
        for title in pages.variants.titles:
            response.vary.add(title)
        if pages.variants.personal:
            response.headers.setdefault("Cache-Control", PERSONAL)
        payload = engine.packing.packed(
            representation.taken(response),
            f"Route {self._request.endpoint!r}",
            pages.options.codec,
            subject=pages.recipe.subject,
        )
        if payload is None:
            return None, None
        return engine.flights.storing(self._turn, payload, lifetime, self._running.tags), None

    def _unread(self) -> Refusal | None:
        """Whether the view has read of the session what the functions in ``vary=`` have not."""
        if self._told is None or self._told.keys is None:
            return None
        return untold(self._told, keys_read())

    def _written(self) -> Refusal | None:
        """Whether the view has made this visitor another one than the key says."""
        if self._pages.options.public or self._modified or not session_modified():
            return None
        return WRITTEN

    def _later(self, response: Response) -> Refusal | None:
        """What may forbid to store only after the view has returned this response."""
        if self._covered:
            return None
        if session_accessed():
            return SESSION
        return LATE_COOKIE if "Set-Cookie" in response.headers else None

    def _defer(self, storing: Exchange[Committed], response: Response) -> None:
        verdict: list[Refusal | None] = []  # once it is made

        def refused() -> bool:
            if not verdict:
                batch = self._engine.context.batch()
                final = None if batch is None else batch.response
                why = self._later(response if final is None else final)
                verdict.append(why)
                if why is not None:
                    self._pages.refused(self._engine, self._request, why)
            return verdict[0] is not None

        self._end(storing, when=lambda: not refused(), salvages=True)
        self._end(self._engine.flights.releasing(self._turn, refused=True), when=refused)

    def _end(
        self,
        exchange: Exchange[Any] | None,
        when: Callable[[], bool] | None = None,
        *,
        salvages: bool = False,
    ) -> None:
        def done(outcome: Outcome[Any]) -> None:
            if outcome.error is not None:
                if salvages:
                    self._end(self._engine.flights.salvaging(self._turn, outcome.error))
                self._engine.notices.failure("storing", outcome.error)
                report(self._engine, self._turn.call.subject, "refused", "failure")

        if exchange is not None:
            self._engine.context.defer(exchange, done=done, when=when)
