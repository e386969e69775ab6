"""One request at a cached route: from the page it asks for to its answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any

from flask import Request, Response, got_request_exception
from werkzeug.exceptions import HTTPException

from flask_redis_kit.cache.answer import Answer
from flask_redis_kit.cache.ending import Ending
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.entry import Look
from flask_redis_kit.cache.flight import Call, Hit, Turn
from flask_redis_kit.cache.flow import COMPUTE, Flow, computed
from flask_redis_kit.cache.memory import RequestNotes, notes_of
from flask_redis_kit.cache.pages import Arguments, Facts, Pages, facts_of
from flask_redis_kit.cache.representation import Representation
from flask_redis_kit.cache.running import Running, tag
from flask_redis_kit.cache.serializer import decoder
from flask_redis_kit.cache.signals import report
from flask_redis_kit.cache.storability import (
    AUTHORIZATION,
    SESSION,
    Refusal,
    is_permitted,
    needs_permission,
    untold,
)
from flask_redis_kit.cache.telling import Told, ask
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.request import RequestBatch
from flask_redis_kit.core.session_watch import keys_read, session_accessed
from flask_redis_kit.core.views import View, method_of


class Visit:
    """One request at a cached route. Made for a plan, or at the view's place.

    ``page``  what its plan lets the batch look up, and ``facts`` all that it was made of.
    ``told``  what the functions in ``vary=`` gave, if it is for them to tell users apart.
    """

    __slots__ = (
        "answer",
        "batch",
        "engine",
        "facts",
        "given",
        "page",
        "pages",
        "receives",
        "request",
        "told",
        "wrapper",
    )

    def __init__(
        self,
        engine: CacheEngine,
        pages: Pages,
        wrapper: object,
        batch: RequestBatch,
        request: Request,
        view: View,
    ) -> None:
        self.engine = engine
        self.pages = pages
        self.wrapper = wrapper
        self.batch = batch
        self.request = request
        self.page: Call | None = None
        self.facts: Facts | None = None
        self.told: Told | None = None
        self.receives: tuple[None, ...] = (None,) if self._is_method(view) else ()

    def expected(self) -> Call | Refusal:
        """The page that is asked for, unless hooks and decorators change the arguments."""
        self.given = Arguments(self.receives, (), self.request.view_args or {})
        return self.pages.page(self.request, self.given)

    def plan(self) -> None:
        """Let the READ go along with whatever this request sends first."""
        planned, pages = notes_of(self.batch).planned, self.pages
        if self.wrapper in planned or not pages.plannable:
            return
        if self.request.method not in pages.options.methods or self._barred() is not None:
            return
        page = self.expected()
        if isinstance(page, Call):
            self.page, self.facts = page, facts_of(self.request, self.given.kwargs)
            planned[self.wrapper] = self
            reading = self.engine.flights.reading(page)
            self.batch.plan(self.wrapper, self.engine.context.wire, reading)

    def result(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Response | None, Flow[Any] | None]:
        """The response, if its page is there and fresh beyond doubt; else how to come by it.

        The short way, as most visits are hits.
        """
        engine, request = self.engine, self.request
        notes: RequestNotes | None = self.batch.notes.get("cache")
        silent = notes is not None and notes.computing > 0
        public = self.pages.options.public
        self.answer = Answer(engine.context.keys.namespace, request, public=public, silent=silent)
        if request.method not in self.pages.options.methods:
            return None, computed()
        page, ahead = self._page(args, kwargs)
        if isinstance(page, Refusal):
            return None, self._bypass(page)
        if ahead is None:
            outcome = engine.context.send_many((engine.flights.reading(page),), self.batch)[0]
            ahead = outcome.result
            if outcome.error is None:
                hit = engine.flights.at_a_glance(page, outcome.result(), self._decode)
                if hit is not None:
                    if self._needs_permission() and not hit.value.is_permitted:
                        return None, self._bypass(AUTHORIZATION)
                    return self._served(hit), None
        return None, self._flow(page, ahead)

    def _flow(self, page: Call, ahead: Callable[[], Look]) -> Flow[Any]:
        found = yield from self._find(page, ahead)
        if isinstance(found, Turn):
            return (yield from self._compute(found))
        if self._needs_permission() and not found.value.is_permitted:
            return (yield from self._bypass(AUTHORIZATION))
        return self._served(found)

    # finding

    def _is_method(self, view: View) -> bool:
        """Whether what is decorated is a method of the view's class, and gets an instance of it."""
        view_class = getattr(view.function, "view_class", None)
        if view_class is None:
            return False
        method = method_of(view_class, self.request.method)
        while method is not None and method is not self.wrapper:
            method = getattr(method, "__wrapped__", None)
        return method is not None

    def _page(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Call | Refusal, Callable[[], Look] | None]:
        """What to look up, and the READ that was sent ahead for it."""
        page = self.page
        pending = None if page is None else self.batch.planned(self.wrapper)
        at = len(self.receives)
        self.given = Arguments(args[:at], args[at:], kwargs)
        barred = self._barred()
        if barred is not None:
            return barred, None
        # hooks and decorators may have changed what is asked for since the READ was sent
        if page is None or pending is None:
            return self._asked(), None
        if len(args) != at or self.facts != facts_of(self.request, kwargs):
            asked = self._asked()
            if not _is_same(page, asked):
                return asked, None
        return page, pending.result

    def _barred(self) -> Refusal | None:
        """Why this request must get an answer of its own."""
        if self._needs_permission() and self.wrapper not in self.engine.permitted:
            return AUTHORIZATION
        pages = self.pages
        if pages.options.public or pages.variants.of_session or not session_accessed():
            return None
        return SESSION

    def _asked(self) -> Call | Refusal:
        """The page asked for; refused if the session was read and it isn't known to be one's."""
        variants = self.pages.variants
        if not variants.factors:
            return self.pages.page(self.request, self.given)
        told = ask(variants.factors)
        if not (self.pages.options.public or "cookie" in variants.names):
            self.told = told
            why = untold(told, keys_read()) if session_accessed() else None
            if why is not None:
                return why
        return self.pages.page(self.request, self.given, told.results)

    def _needs_permission(self) -> bool:
        request = self.request
        if "HTTP_AUTHORIZATION" not in request.environ:
            return False
        return needs_permission(request, self.pages.options, self.pages.variants)

    def _find(self, page: Call, ahead: Callable[[], Look] | None) -> Flow[Hit | Turn]:
        flights = self.engine.flights
        wait = self.pages.options.wait
        if self.request.method != "HEAD":
            return (yield from flights.obtain(page, self._decode, ahead, wait_seconds=wait))
        # the answer to a HEAD may lack its body: it is served from the cache, but never stored
        turn = Turn(page, self.engine.shards.place(page.digest))
        try:
            found = yield from flights.look(page, self._decode, ahead)
        except FAILURES as error:
            self.engine.notices.failure("reading", error)
            return turn
        if isinstance(found, Hit):
            report(self.engine, page.subject, "hit" if found.fresh_ms > 0 else "stale")
            return found
        report(self.engine, page.subject, "miss")
        return turn

    def _decode(self, payload: bytes | memoryview) -> Representation:
        context = self.engine.context
        decode = decoder(self.pages.options.codec or context.codec)
        return Representation(decode(payload))

    # answering

    def _served(self, hit: Hit) -> Response:
        tag(self.engine, hit.tags, old=hit.old)  # if another page is made of it
        return self.answer.found(hit.value.response(self.engine.context.app), hit)

    def _bypass(self, why: Refusal) -> Flow[Response]:
        self.pages.refused(self.engine, self.request, why)
        response = self._made((yield COMPUTE))
        if why is AUTHORIZATION and is_permitted(response):
            self.engine.permitted.add(self.wrapper)  # the next one is worth a look
        return self.answer.bypassed(response, why.reason)

    def _compute(self, turn: Turn) -> Flow[Response]:
        """The view's answer; or, if it fails, the old page within its grace."""
        notes = notes_of(self.batch)
        notes.computing += 1
        try:
            with Running(self.engine, turn.call) as running:
                return (yield from self._run(turn, running))
        finally:
            notes.computing -= 1

    def _run(self, turn: Turn, running: Running) -> Flow[Response]:
        ending = Ending(
            self.engine, self.pages, self.request, self.answer, turn, running, self.told
        )
        try:
            try:
                response = self._made((yield COMPUTE))
            except self.pages.options.exceptions as error:
                response = self._handled(error)
            if turn.stale is None or response.status_code < 500:
                return ending.keep(response)
            status = response.status_code
        except BaseException as error:
            ending.abandon()
            status = _status(error)
            if turn.stale is None or status < 500:
                raise
            self._tell(error)
        else:
            ending.abandon()
        return self._rescued(turn, status)

    def _rescued(self, turn: Turn, status: int) -> Response:
        stale = self.engine.flights.rescue(turn)
        assert stale is not None  # noqa: S101  # _compute has seen to it
        tag(self.engine, stale.tags, old=stale.old)
        response = stale.value.response(self.engine.context.app)
        return self.answer.rescued(response, stale, status)

    def _made(self, returned: Any) -> Response:
        return self.engine.context.app.make_response(returned)

    def _handled(self, error: Exception) -> Response:
        """The response that the application's handlers make of an exception to be kept."""
        app = self.engine.context.app
        handler = app._find_error_handler(error, self.request.blueprints)
        # an `async def` handler can't be run here: the view may itself run in a loop
        if type(error) not in self.pages.options.exceptions or iscoroutinefunction(handler):
            raise error
        returned = app.handle_user_exception(error)
        if isinstance(returned, HTTPException):
            returned = returned.get_response(self.request.environ)
        return self._made(returned)

    def _tell(self, error: BaseException) -> None:
        """As Flask does with an exception that nobody handles: the page must not hide it."""
        if isinstance(error, HTTPException):
            return  # the view means it
        app = self.engine.context.app
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
        app.log_exception(sys.exc_info())


def _is_same(planned: Call, asked: Call | Refusal) -> bool:
    if isinstance(asked, Refusal):
        return False
    return planned.digest.raw == asked.digest.raw and planned.tags == asked.tags


def _status(error: BaseException) -> int:
    """The status that an exception stands for; 0 for what ends a request, or the process."""
    if isinstance(error, HTTPException):
        return error.code or 200  # it carries a response of its own
    return 500 if isinstance(error, Exception) else 0
