"""Route mode: the response of a view, by the rules of HTTP.

What is stored may be served to everybody, so it is stored only if it is meant for everybody:
RFC 9111 (what a shared cache may store), RFC 9211 (``Cache-Status``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from flask import Request, Response
from werkzeug.datastructures import Headers
from werkzeug.http import http_date

from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.entry import Look
from flask_redis_kit.cache.flight import Call, Hit, Turn
from flask_redis_kit.cache.flow import COMPUTE, Flow
from flask_redis_kit.cache.memory import notes_of
from flask_redis_kit.cache.payload import Payload
from flask_redis_kit.cache.query import canonical_query
from flask_redis_kit.cache.recipe import Recipe
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.request import RequestBatch
from flask_redis_kit.core.session_watch import session_accessed
from flask_redis_kit.core.views import current_request, view_wrappers, wrappers_of

METHODS = frozenset({"GET", "HEAD"})
STATUSES = frozenset({200, 203, 204, 300, 301, 404, 410})
_CONDITIONS = frozenset({"HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_MATCH"})
_NOT_STORED = frozenset({"age", "cache-status", "connection", "date", "transfer-encoding"})

_SESSION = (
    "it reads the session, so it may be one user's. If it is the same for everyone, say "
    "@cache_result(public=True); else cache the functions beneath the view, with the user's id "
    "as an argument."
)


class Visit:
    """One request at a cached route."""

    __slots__ = ("args", "batch", "engine", "kwargs", "recipe", "request", "wrapper")

    def __init__(
        self,
        engine: CacheEngine,
        recipe: Recipe,
        wrapper: object,
        batch: RequestBatch,
        request: Request,
    ) -> None:
        self.engine = engine
        self.recipe = recipe
        self.wrapper = wrapper
        self.batch = batch
        self.request = request
        self.args: tuple[Any, ...] = ()
        self.kwargs: Mapping[str, Any] = request.view_args or {}

    def plan(self) -> None:
        """Let the READ go along with whatever this request sends first."""
        notes = notes_of(self.batch)
        if self.wrapper in notes.planned or self.request.method not in METHODS:
            return
        call = None if self._barred() else self._call()
        if call is not None:
            notes.planned[self.wrapper] = call
            reading = self.engine.flights.reading(call)
            self.batch.plan(self.wrapper, self.engine.context.wire, reading)

    def flow(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Flow[Any]:
        """The response, from the cache or from the view."""
        if self.request.method not in METHODS:
            return (yield COMPUTE)
        app = self.engine.context.app
        as_planned = not self._extra(args) and dict(kwargs) == self.kwargs
        self.args, self.kwargs = args, kwargs
        call, ahead = self._planned(as_planned)
        if call is None:
            response = app.make_response((yield COMPUTE))
            self._mark(response, "fwd=bypass")
            return response
        found = yield from self._find(call, ahead)
        if isinstance(found, Hit):
            return self._served(found)
        try:
            response = app.make_response((yield COMPUTE))
            self._conclude(found, response)
        except BaseException:
            self._end(self.engine.flights.releasing(found))
            raise
        return response

    # finding

    def _planned(self, as_planned: bool) -> tuple[Call | None, Callable[[], Look] | None]:
        """The call to look up, and the READ that was sent ahead for it."""
        planned: dict[object, Call | None] = notes_of(self.batch).planned
        call = planned.get(self.wrapper)
        planned[self.wrapper] = None
        pending = self.batch.planned(self.wrapper)
        if self._barred():
            return None, None
        if call is None or not as_planned:
            return self._call(), None
        return call, None if pending is None else pending.result

    def _find(self, call: Call, ahead: Callable[[], Look] | None) -> Flow[Hit | Turn]:
        flights = self.engine.flights
        if self.request.method != "HEAD":
            return (yield from flights.obtain(call, self._decode, ahead))
        # the answer to a HEAD may lack its body: it is served from the cache, but never stored
        turn = Turn(call, self.engine.shards.place(call.digest))
        try:
            found = yield from flights.look(call, self._decode, ahead)
        except FAILURES as error:
            self.engine.notices.failure("reading", error)
            return turn
        return found if isinstance(found, Hit) else turn

    def _barred(self) -> bool:
        """Whether this request must get an answer of its own."""
        if self.recipe.public:
            return False
        if "Authorization" in self.request.headers:
            return True
        if session_accessed():
            self._warn("session", _SESSION)
            return True
        return False

    def _extra(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Positional arguments other than a MethodView's ``self``."""
        if not args:
            return args
        view = self.engine.context.app.view_functions.get(self.request.endpoint or "")
        view_class = getattr(view, "view_class", None)
        if args and view_class is not None and isinstance(args[0], view_class):
            return args[1:]
        return args

    def _call(self) -> Call | None:
        """What this request asks for; None if its query is too large to be a key."""
        request, recipe = self.request, self.recipe
        query = canonical_query(request.query_string, lambda: request.args.items(multi=True))
        if query is None:
            return None
        extra = self._extra(self.args)
        key: dict[str, Any] = {
            "scheme": request.scheme,
            "host": request.host,
            "root": request.root_path,
            "path": request.path,  # a url_value_preprocessor may take arguments out of view_args
            "endpoint": request.endpoint,
            "query": query,
        }
        for name in sorted(self.kwargs):
            key[f"argument:{name}"] = self.kwargs[name]
        if not extra:
            return recipe.call_of_route(key, self.kwargs)
        key |= {f"position:{n}": value for n, value in enumerate(extra)}
        digest = recipe.routes.digest(key, recipe.about)
        return recipe.tagged(digest, recipe.bound(self.args, self.kwargs))

    # answering

    def _decode(self, payload: memoryview) -> Response:
        stored = self.engine.context.codec.decode(payload)
        try:
            status, headers, body = stored
            # in a list, or its length would be set again
            response: Response = self.engine.context.app.response_class(
                [body], status=status, headers=Headers(headers)
            )
        except (TypeError, ValueError) as error:
            raise CodecError(f"It is no response: {error}") from error
        return response

    def _served(self, hit: Hit) -> Response:
        response: Response = hit.value
        add = response.headers.add  # none of these was stored
        add("Age", str(hit.age_ms // 1000))
        add("Cache-Status", self._status(f"hit; ttl={hit.fresh_ms // 1000}"))
        add("Date", _date(int(time.time())))
        if _CONDITIONS.isdisjoint(self.request.environ):
            return response
        self._conditional(response)
        return response

    def _conditional(self, response: Response) -> None:
        """Answer a condition, such as a known ``ETag``; those hold for success only (RFC 9110)."""
        if 200 <= response.status_code < 300:
            response.make_conditional(self.request)

    def _mark(self, response: Response, what: str) -> None:
        response.headers.add("Cache-Status", self._status(what))

    def _status(self, what: str) -> str:
        name = self.engine.context.keys.namespace
        token = name if name[0].isalpha() else f'"{name}"'
        return f"{token}; {what}"

    # storing

    def _conclude(self, turn: Turn, response: Response) -> None:
        """Leave the store, or the end of the lease, for the last trip of this request."""
        flights = self.engine.flights
        payload = None if turn.token is None else self._payload(response)
        if payload is None:
            self._end(flights.releasing(turn))
            self._mark(response, "fwd=miss")
            return
        storing = flights.storing(turn, payload, self.recipe.lifetime(self.engine))
        refused: list[bool] = []  # the verdict, once it is made

        def is_refused() -> bool:
            if not refused:
                refused.append(not self.recipe.public and session_accessed())
                if refused[0]:
                    self._warn("session", _SESSION)
            return refused[0]

        self._end(storing, when=lambda: not is_refused())
        self._end(flights.releasing(turn), when=is_refused)
        self._mark(response, "fwd=miss")
        self._conditional(response)

    def _payload(self, response: Response) -> Payload | None:
        reason = self._refusal(response)
        if reason is not None:
            if reason:
                self._warn(reason.split()[1], reason)
            return None
        response.set_data(response.get_data())  # with its length
        response.add_etag()
        headers = [
            [name, value] for name, value in response.headers if name.lower() not in _NOT_STORED
        ]
        stored = [response.status, headers, response.get_data()]
        return self.engine.encoded(stored, f"Route {self.request.endpoint!r}")

    def _refusal(self, response: Response) -> str | None:
        """Why a response is not for everybody: "" if that is meant, None if it may be stored."""
        if response.status_code not in STATUSES:
            return ""
        if response.direct_passthrough or response.is_streamed:
            return "it streams its response."
        if "Set-Cookie" in response.headers:
            return "it sets a cookie. Set cookies in a view of their own."
        control = response.cache_control
        if control.no_store or control.private is not None:
            return ""
        if response.vary:
            return f"it varies by {response.vary.to_header()}, which is not in its key."
        return None

    def _end(self, exchange: Exchange[Any] | None, when: Callable[[], bool] | None = None) -> None:
        def done(outcome: Outcome[Any]) -> None:
            if outcome.error is not None:
                self.engine.notices.failure("storing", outcome.error)

        if exchange is not None:
            self.engine.context.defer(exchange, done=done, when=when)

    def _warn(self, about: str, reason: str) -> None:
        endpoint = self.request.endpoint
        self.engine.notices.once(
            ("route", endpoint, about), "The route %r is not cached: %s", endpoint, reason
        )


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return http_date(second)


def arrive(engine: CacheEngine, recipe: Recipe, wrapper: Callable[..., Any]) -> Visit | None:
    """The visit, if this is the outermost call of the current request's view; else None."""
    request = current_request()
    if request is None:
        return None
    if wrapper not in view_wrappers(engine.context.app, request):
        return None
    batch = engine.context.batch()
    if batch is None or not batch.enter(wrapper):
        return None
    return Visit(engine, recipe, wrapper, batch, request)


def must_compute(engine: CacheEngine, recipe: Recipe, wrapper: object) -> bool:
    """Whether this is a view, called by other code, that must answer this request by itself."""
    request = current_request()
    if request is None or recipe.public:
        return False
    if "Authorization" not in request.headers and not session_accessed():
        return False
    known = engine.views.get(wrapper)
    if known is None:
        app = engine.context.app
        known = any(
            each is wrapper
            for endpoint in app.view_functions
            for each in wrappers_of(app, endpoint, "GET")
        )
        engine.views[wrapper] = known
    return known


def plan(engine: CacheEngine, recipe: Recipe, wrapper: object, batch: RequestBatch) -> None:
    """Plan the look-up of the current request's view."""
    request = current_request()
    if request is not None and engine.enabled:
        Visit(engine, recipe, wrapper, batch, request).plan()
